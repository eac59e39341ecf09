"""Sunspots of the next year by a GRU, beside the naive forecast: as many as this year.

Yearly means from 1700 to 2008, NOAA National Geophysical Data Center, in the public domain.
python examples/sunspots_gru.py
"""

import numpy as np

import graphc as gx
from graphc import nn, optim

SUNSPOTS = """
    5 11 16 23 36 58 29 20 10 8 3 0 0 2 11 27 47 63 60 39 28 26 22 11 21 40 78 122 103 73 47 35
    11 5 16 34 70 81 111 101 73 40 20 16 5 11 22 40 60 80.9 83.4 47.7 47.8 30.7 12.2 9.6 10.2
    32.4 47.6 54 62.9 85.9 61.2 45.1 36.4 20.9 11.4 37.8 69.8 106.1 100.8 81.6 66.5 34.8 30.6 7
    19.8 92.5 154.4 125.9 84.8 68.1 38.5 22.8 10.2 24.1 82.9 132 130.9 118.1 89.9 66.6 60 46.9
    41 21.3 16 6.4 4.1 6.8 14.5 34 45 43.1 47.5 42.2 28.1 10.1 8.1 2.5 0 1.4 5 12.2 13.9 35.4
    45.8 41.1 30.1 23.9 15.6 6.6 4 1.8 8.5 16.6 36.3 49.6 64.2 67 70.9 47.8 27.5 8.5 13.2 56.9
    121.5 138.3 103.2 85.7 64.6 36.7 24.2 10.7 15 40.1 61.5 98.5 124.7 96.3 66.6 64.5 54.1 39
    20.6 6.7 4.3 22.7 54.8 93.8 95.8 77.2 59.1 44 47 30.5 16.3 7.3 37.6 74 139 111.2 101.6 66.2
    44.7 17 11.3 12.4 3.4 6 32.3 54.3 59.7 63.7 63.5 52.2 25.4 13.1 6.8 6.3 7.1 35.6 73 85.1 78
    64 41.8 26.2 26.7 12.1 9.5 2.7 5 24.4 42 63.5 53.8 62 48.5 43.9 18.6 5.7 3.6 1.4 9.6 47.4
    57.1 103.9 80.6 63.6 37.6 26.1 14.2 5.8 16.7 44.3 63.9 69 77.8 64.9 35.7 21.2 11.1 5.7 8.7
    36.1 79.7 114.4 109.6 88.8 67.8 47.5 30.6 16.3 9.6 33.2 92.6 151.6 136.3 134.7 83.9 69.4
    31.5 13.9 4.4 38 141.7 190.2 184.8 159 112.3 53.9 37.6 27.9 10.2 15.1 47 93.8 105.9 105.5
    104.5 66.6 68.9 38 34.5 15.5 12.6 27.5 92.5 155.4 154.6 140.4 115.9 66.6 45.9 17.9 13.4 29.4
    100.2 157.6 142.6 145.7 94.3 54.6 29.9 17.5 8.6 21.5 64.3 93.3 119.6 111 104 63.7 40.4 29.8
    15.2 7.5 2.9
"""
STEPS, SPLIT = 44, 1950 - 1700  # four cycles of eleven years; what is learned ends in 1949

spots = np.array(SUNSPOTS.split(), "float32")
series = np.sqrt(spots) / 10  # spots vary the more, the more there are
windows = np.lib.stride_tricks.sliding_window_view(series[:SPLIT], STEPS + 1)

x, y = gx.input("x", (None, "years", 1)), gx.input("y", (None, "years"))
h, _ = nn.GRU(1, 16)(x)
guess = (
    x[..., 0] + nn.Linear(16, 1, weight_init=nn.init.zeros)(h)[..., 0]
)  # this year, and a change
model = gx.Model(
    inputs=x, outputs=guess, targets=y, loss=nn.mse_loss(guess, y), seed=0,
    optimizer=optim.AdamW(1e-2, weight_decay=0.1),
)  # fmt: skip
model.fit(windows[:, :-1, None], windows[:, 1:], epochs=60, batch_size=32)

found = model.predict(series[None, :-1, None])[0]
found, true = np.maximum(10 * found, 0) ** 2, spots[1:]
test = slice(SPLIT - 1, None)
ours, naive = (np.sqrt(np.mean((p - true)[test] ** 2)) for p in (found, spots[:-1]))
print(
    f"1950 to 2008: off by {ours:.1f} spots in the root mean square; the naive forecast {naive:.1f}"
)
assert ours < 0.75 * naive

print("year  spots, as they were (o) and as foreseen a year before (x)")
for year in range(1976, 2009):
    line = [" "] * 52
    for value, mark in ((true[year - 1701], "o"), (found[year - 1701], "x")):
        place = int(value / 4)
        line[place] = "8" if line[place] != " " else mark
    print(year, "|" + "".join(line).rstrip())
