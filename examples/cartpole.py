"""REINFORCE on CartPole: the environment is in the graph, and no Python runs from step to step.

Williams, *Simple statistical gradient-following algorithms for connectionist reinforcement
learning*, 1992; the cart and its pole are those of Barto, Sutton and Anderson, 1983, with the
constants of Gymnasium's CartPole-v1. python examples/cartpole.py
"""

import math

import numpy as np
from tqdm import trange

import graphc as gx
from graphc import nn, optim

STEPS, GAMES = 500, 64
GRAVITY, CART, POLE, HALF, FORCE, TAU = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
FARTHEST, STEEPEST = 2.4, 12 * math.pi / 180

policy = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 2))


def moved(state, right):
    """Return the state a fiftieth of a second later; ``right`` is 1 or 0."""
    speed, angle, turn = (state[:, k] for k in range(1, 4))
    push = (2 * right - 1) * FORCE
    mass, sine, cosine = CART + POLE, gx.sin(angle), gx.cos(angle)
    shared = (push + POLE * HALF * turn * turn * sine) / mass
    bend = (GRAVITY * sine - cosine * shared) / (HALF * (4 / 3 - POLE * cosine * cosine / mass))
    pull = shared - POLE * HALF * bend * cosine / mass
    change = gx.stack([speed, pull, turn, bend], axis=1)
    return state + TAU * change


def step(carry, _):
    """Play a step of every game: what is left of it, whether it went on, and the choice."""
    state, alive = carry
    logits = policy(state)
    choice = gx.random_categorical(gx.stop_gradient(logits), seed=1)
    chosen = gx.take_along_axis(gx.log_softmax(logits), choice[:, None], axis=1)[:, 0]
    state = gx.stop_gradient(moved(state, gx.astype(choice, "float32")))
    inside = (gx.abs(state[:, 0]) < FARTHEST) & (gx.abs(state[:, 2]) < STEEPEST)
    return (state, alive * gx.astype(inside, "float32")), (alive, chosen)


start = gx.input("start", (None, 4))
_, (alive, chosen) = gx.scan(step, (start, gx.ones_like(start[:, 0])), length=STEPS)
lasted = gx.sum(alive, axis=0)  # how many steps the pole stood, in each game
left = gx.flip(gx.cumulative_sum(gx.flip(alive, axis=0), axis=0), axis=0)  # the return of each step
better = left - gx.sum(left * alive, axis=1, keepdims=True) / gx.maximum(
    gx.sum(alive, axis=1, keepdims=True), 1.0
)  # than that of the games that still go on
loss = -gx.sum(gx.stop_gradient(better) * chosen * alive) / (GAMES * STEPS)
model = gx.Model(
    inputs=start, outputs=lasted, loss=loss, optimizer=optim.Adam(1e-2, clip_norm=1.0), seed=0
)

rng = np.random.default_rng(0)
bar = trange(150, unit=" updates")
for update in bar:
    games = rng.uniform(-0.05, 0.05, (GAMES, 4)).astype("float32")
    model.train_step(games)
    if update % 10 == 9:
        bar.set_postfix(steps=f"{model.predict(games).mean():.0f}")
steps = model.predict(rng.uniform(-0.05, 0.05, (200, 4)).astype("float32"))
print(f"the pole stands for {steps.mean():.0f} of {STEPS} steps, in {len(steps)} new games")
gx.visualize(model, "cartpole.svg")
assert steps.mean() > 400
