"""A neural differential equation: hares and lynxes of twenty years, from a network of their rates.

Chen, Rubanova, Bettencourt and Duvenaud, NeurIPS 2018. Pelts, in thousands, that the Hudson's Bay
Company bought from 1900 to 1920. python examples/neural_ode.py
"""

import numpy as np

import graphc as gx
from graphc import nn, optim

HARES = """30 47.2 70.2 77.4 36.3 20.6 18.1 21.4 22 25.4 27.1 40.3 57 76.6 52.3 19.5 11.2 7.6
           14.6 16.2 24.7"""
LYNXES = """4 6.1 9.8 35.2 59.4 41.7 19 13 8.3 9.1 7.4 8 12.3 19.5 45.7 51.1 29.7 15.8 9.7
            10.1 8.6"""
FINE = 4  # steps of the solver in a year

pelts = np.array([HARES.split(), LYNXES.split()], "float32").T
logs = np.log(pelts) - np.log(pelts).mean(0)
rates = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 2))


def solved(start, years):
    """Return the state after each year, by the classical method of Runge and Kutta."""
    h = 1 / FINE

    def step(z, _):
        a = rates(z)
        b = rates(z + h / 2 * a)
        c = rates(z + h / 2 * b)
        d = rates(z + h * c)
        return z + h / 6 * (a + 2 * b + 2 * c + d), None

    def year(z, _):
        z, _ = gx.scan(step, z, length=FINE)
        return z, z

    return gx.scan(year, start, length=years)[1]


def trained(years, epochs, lr):
    """Learn from all pieces of so many years, from the first year of each on."""
    pieces = np.lib.stride_tricks.sliding_window_view(logs, years + 1, axis=0).transpose(0, 2, 1)
    x, y = gx.input("x", (None, 2)), gx.input("y", (None, years, 2))
    path = gx.moveaxis(solved(x, years), 0, 1)
    model = gx.Model(inputs=x, outputs=path, targets=y, loss=nn.mse_loss(path, y),
                     optimizer=optim.Adam(lr), seed=0)  # fmt: skip
    model.fit(pieces[:, 0], pieces[:, 1:], epochs=epochs, batch_size=len(pieces))
    return model


for years, epochs in ((2, 500), (5, 500), (10, 500), (20, 1500)):
    model = trained(years, epochs, 3e-3)
found = np.concatenate([logs[:1], model.predict(logs[:1])[0]])
error, spread = (np.sqrt(np.mean((logs - f) ** 2)) for f in (found, 0))
print(f"logarithms of 20 years, from the first on: error {error:.2f}, spread {spread:.2f}")
assert error < 0.3 * spread

print("year  pelts of hares (h) and lynxes (l), as the equation has them (H, L)")
for number, (seen, own) in enumerate(
    zip(pelts, np.exp(found + np.log(pelts).mean(0)), strict=True)
):
    line = [" "] * 52
    for value, mark in zip([*seen, *own], "hlHL", strict=True):
        line[min(int(value / 1.6), 51)] = mark
    print(1900 + number, "|" + "".join(line).rstrip())
