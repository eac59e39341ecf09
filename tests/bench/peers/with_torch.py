"""PyTorch: eager, or with the network and its loss compiled by ``torch.compile``."""

from __future__ import annotations

import os

import torch

from tests.bench.problem import ADAM_RATE, BETA1, BETA2, EPSILON, RATE, Problem, Runner

ACTIVATIONS = {"relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
LOSSES = {
    "cross_entropy": torch.nn.functional.cross_entropy,
    "squared": torch.nn.functional.mse_loss,
}


def network(problem: Problem) -> torch.nn.Sequential:
    layers: list[torch.nn.Module] = []
    for i, w in enumerate(problem.weights()):
        linear = torch.nn.Linear(*w.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.from_numpy(w.T))
            linear.bias.zero_()
        layers += [ACTIVATIONS[problem.activation](), linear] if i else [linear]
    return torch.nn.Sequential(*layers)


def numpy(tensors: list[torch.Tensor]) -> list:
    """Return arrays in the common layout: torch keeps weights ``(out, in)``."""
    return [t.detach().T.numpy() if t.ndim == 2 else t.detach().numpy() for t in tensors]


def make(problem: Problem, way: str) -> Runner:
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    net = network(problem)
    parameters = list(net.parameters())
    batches = [(torch.from_numpy(x), torch.from_numpy(y)) for x, y in problem.batches()]
    last: list[torch.Tensor] = []

    def forward(x: torch.Tensor) -> torch.Tensor:
        return net(x)

    def loss(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return LOSSES[problem.loss](net(x), y)

    if way == "compile":
        torch.compiler.reset()
        forward, loss = torch.compile(forward), torch.compile(loss)
    optimizer = (
        torch.optim.Adam(parameters, ADAM_RATE, (BETA1, BETA2), EPSILON)
        if problem.step == "adam"
        else torch.optim.SGD(parameters, RATE)
    )

    def outputs(n: int) -> None:
        with torch.no_grad():
            for x, _ in batches[:n]:
                last[:] = [forward(x)]

    def steps(n: int) -> None:
        for x, y in batches[:n]:
            optimizer.zero_grad(set_to_none=True)
            value = loss(x, y)
            value.backward()
            if problem.step != "gradients":
                optimizer.step()
        last[:] = [value]

    def results() -> list:
        if problem.step == "forward":
            return [last[0].numpy()]
        if problem.step == "gradients":
            return numpy([last[0], *(p.grad for p in parameters)])
        return numpy(parameters)

    return Runner(outputs if problem.step == "forward" else steps, results)
