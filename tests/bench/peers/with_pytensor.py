"""PyTensor with its Numba backend: one compiled function a step, parameters in shared variables."""

from __future__ import annotations

import numpy as np
import pytensor
import pytensor.tensor as pt

from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON, RATE, Array, Problem, Runner

pytensor.config.floatX = "float32"

ACTIVATIONS = {"relu": lambda x: pt.maximum(x, np.float32(0)), "tanh": pt.tanh}


def make(problem: Problem, way: str) -> Runner:
    del way  # there is one
    classes = problem.loss == "cross_entropy"
    x, y = pt.fmatrix("x"), pt.lvector("y") if classes else pt.fmatrix("y")
    parameters, h = [], x
    for i, w in enumerate(problem.weights()):
        weight = pytensor.shared(w, name=f"weight{i}")
        bias = pytensor.shared(np.zeros(w.shape[1], "float32"), name=f"bias{i}")
        h = (ACTIVATIONS[problem.activation](h) if i else h) @ weight + bias
        parameters += [weight, bias]
    if problem.step == "forward":
        return called(compiled([x], [h]), [(x,) for x, _ in problem.batches()], ())
    if classes:
        loss = -pt.mean(pt.special.log_softmax(h, axis=-1)[pt.arange(y.shape[0]), y])
    else:
        loss = pt.mean(pt.sqr(h - y))
    gradients = pytensor.grad(loss, parameters)
    if problem.step == "gradients":
        return called(compiled([x, y], [loss, *gradients]), problem.batches(), ())
    update = sgd if problem.step == "sgd" else adam
    step = compiled([x, y], [loss], update(parameters, gradients))
    return called(step, problem.batches(), parameters)


def compiled(inputs: list, outputs: list, updates: list[tuple] = ()) -> pytensor.compile.Function:
    function = pytensor.function(inputs, outputs, updates=updates, mode="NUMBA")
    function.trust_input = True  # the arrays are as declared: looking at them costs microseconds
    return function


def sgd(parameters: list, gradients: list) -> list[tuple]:
    rate = np.float32(RATE)
    return [(p, p - rate * g) for p, g in zip(parameters, gradients, strict=True)]


def adam(parameters: list, gradients: list) -> list[tuple]:
    """Kingma and Ba, ICLR 2015."""
    rate, beta1, beta2, epsilon, one = map(np.float32, (ADAM_RATE, BETA1, BETA2, EPSILON, 1))
    t = pytensor.shared(np.float32(0), name="t")
    updates = [(t, t + one)]
    for p, g in zip(parameters, gradients, strict=True):
        m, v = (pytensor.shared(np.zeros_like(p.get_value())) for _ in range(2))
        m_new, v_new = beta1 * m + (one - beta1) * g, beta2 * v + (one - beta2) * pt.sqr(g)
        mean, square = m_new / (one - beta1 ** (t + one)), v_new / (one - beta2 ** (t + one))
        updates += [(m, m_new), (v, v_new), (p, p - rate * mean / (pt.sqrt(square) + epsilon))]
    return updates


def called(function: pytensor.compile.Function, batches: list[tuple], parameters: list) -> Runner:
    last: list[Array] = []

    def run(n: int) -> None:
        for feeds in batches[:n]:
            last[:] = function(*feeds)

    return Runner(run, lambda: [p.get_value() for p in parameters] or last)
