"""JAX: a jitted step in a loop of Python, or a jitted scan over the batches of an epoch."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON, RATE, Problem, Runner

ACTIVATIONS = {"relu": jax.nn.relu, "tanh": jnp.tanh}
State = tuple[Any, Any]  # parameters [(weight, bias), ...], and what the optimiser keeps


def make(problem: Problem, way: str) -> Runner:
    parameters = [(jnp.asarray(w), jnp.zeros(w.shape[1], jnp.float32)) for w in problem.weights()]
    forward, loss = functions(problem)
    batches = [(jnp.asarray(x), jnp.asarray(y)) for x, y in problem.batches() if way == "step"]
    if problem.step == "forward":
        jitted = jax.jit(forward)
        return called(lambda x, _: [jitted(parameters, x)], batches)
    if problem.step == "gradients":
        gradients = jax.jit(jax.value_and_grad(loss))
        return called(lambda x, y: gradients(parameters, x, y), batches)
    step, start = update(problem, loss, parameters)
    if way == "epoch":
        shaped = (a.reshape(problem.steps, problem.batch, *a.shape[1:]) for a in problem.data())
        return scanned(step, start, *map(jnp.asarray, shaped))
    return stepped(step, start, batches)


def functions(problem: Problem) -> tuple[Any, Any]:
    """Return ``forward(parameters, x)`` and ``loss(parameters, x, y)``."""

    def forward(parameters, x):
        for i, (weight, bias) in enumerate(parameters):
            x = (ACTIVATIONS[problem.activation](x) if i else x) @ weight + bias
        return x

    def loss(parameters, x, y):
        out = forward(parameters, x)
        if problem.loss == "squared":
            return jnp.mean((out - y) ** 2)
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(out), y[:, None], 1))

    return forward, loss


def update(problem: Problem, loss: Any, parameters: Any) -> tuple[Any, State]:
    """Return ``step(state, batch) -> (state, loss)`` and the initial state."""

    def sgd(state, batch):
        value, gradients = jax.value_and_grad(loss)(state[0], *batch)
        return (jax.tree.map(lambda p, g: p - RATE * g, state[0], gradients), ()), value

    if problem.step == "sgd":
        return sgd, (parameters, ())
    import optax

    optimizer = optax.adam(ADAM_RATE, BETA1, BETA2, EPSILON)

    def adam(state, batch):
        value, gradients = jax.value_and_grad(loss)(state[0], *batch)
        changes, kept = optimizer.update(gradients, state[1])
        return (optax.apply_updates(state[0], changes), kept), value

    return adam, (parameters, optimizer.init(parameters))


def called(function: Any, batches: list[tuple]) -> Runner:
    last: list[Any] = []

    def run(n: int) -> None:
        for x, y in batches[:n]:
            last[:] = jax.tree.leaves(function(x, y))
        jax.block_until_ready(last)

    return Runner(run, lambda: [np.asarray(a) for a in last])


def stepped(step: Any, start: State, batches: list[tuple]) -> Runner:
    jitted = jax.jit(step, donate_argnums=0)
    kept = {"state": start}

    def run(n: int) -> None:
        for batch in batches[:n]:
            kept["state"], kept["loss"] = jitted(kept["state"], batch)
        jax.block_until_ready(kept)

    return Runner(run, lambda: [np.asarray(p) for p in jax.tree.leaves(kept["state"][0])])


def scanned(step: Any, start: State, xs: jax.Array, ys: jax.Array) -> Runner:
    """Return epochs by ``scan``; like ``fit``, they add up the losses."""

    def epoch(state, xs, ys):
        state, losses = jax.lax.scan(step, state, (xs, ys))
        return state, jnp.mean(losses)

    jitted = jax.jit(epoch, donate_argnums=0)
    kept = {"state": start}

    def run(n: int) -> None:
        kept["state"], kept["loss"] = jitted(kept["state"], xs[:n], ys[:n])
        jax.block_until_ready(kept)

    return Runner(run, lambda: [np.asarray(p) for p in jax.tree.leaves(kept["state"][0])])
