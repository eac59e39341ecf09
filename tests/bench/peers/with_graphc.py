"""graphc: ``train_step`` in a loop of Python, or ``fit``; functions for the parts of a step."""

from __future__ import annotations

import numpy as np

import graphc as gx
from graphc import nn, optim
from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON, RATE, Problem, Runner

ACTIVATIONS = {"relu": gx.relu, "tanh": gx.tanh}


def make(problem: Problem, way: str) -> Runner:
    classes = problem.loss == "cross_entropy"
    x = gx.input("x", (None, problem.sizes[0]))
    y = gx.input("y", (None,), "int64") if classes else gx.input("y", (None, problem.sizes[-1]))
    parameters, h = [], x
    for i, w in enumerate(problem.weights()):
        weight = gx.parameter(w, name=f"weight{i}")
        bias = gx.parameter(np.zeros(w.shape[1], "float32"), name=f"bias{i}")
        h = (ACTIVATIONS[problem.activation](h) if i else h) @ weight + bias
        parameters += [weight, bias]
    loss = nn.cross_entropy(h, y) if classes else nn.mse_loss(h, y)
    if problem.step == "forward":
        function = gx.function(x, [h])
        return called(function, [(x,) for x, _ in problem.batches()])
    if problem.step == "gradients":
        function = gx.function([x, y], [loss, *gx.grad(loss, parameters)])
        return called(function, problem.batches())
    sgd = problem.step == "sgd"
    optimizer = optim.SGD(RATE) if sgd else optim.Adam(ADAM_RATE, (BETA1, BETA2), EPSILON)
    model = gx.Model(inputs=x, outputs=h, targets=y, loss=loss, optimizer=optimizer)
    return stepped(model, problem) if way == "step" else fitted(model, problem)


def called(function: gx.Function, batches: list[tuple]) -> Runner:
    last = []

    def run(n: int) -> None:
        for feeds in batches[:n]:
            last[:] = function(*feeds)

    return Runner(run, lambda: last)


def stepped(model: gx.Model, problem: Problem) -> Runner:
    batches = problem.batches()

    def run(n: int) -> None:
        for x, y in batches[:n]:
            model.train_step(x, y)

    return Runner(run, lambda: list(model.parameters.values()))


def fitted(model: gx.Model, problem: Problem) -> Runner:
    """Return epochs by ``fit``, which gathers the rows of every batch by their numbers."""
    x, y = problem.data()

    def run(n: int) -> None:
        rows = n * problem.batch
        model.fit(x[:rows], y[:rows], batch_size=problem.batch, shuffle=False, verbose=0)

    return Runner(run, lambda: list(model.parameters.values()))
