"""Folds down columns compute what others read, too, for themselves."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

RNG = np.random.default_rng(0)


def hits(report):
    return {p.name: p.hits for p in report.passes}["recompute"]


def network(norm=True):
    x, y = gx.input("x", (None, 8, 8, 3)), gx.input("y", (None, 16))
    layers = [nn.Conv2d(3, 16, 3, padding=1), *([nn.BatchNorm2d(16)] if norm else []), nn.ReLU()]
    out = gx.mean(nn.Sequential(*layers)(x), (1, 2))
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.Adam(1e-2), seed=1)  # fmt: skip


def trained(passes, norm=True):
    with gx.config(disable_passes=passes):
        model = network(norm)
        values = RNG.standard_normal((12, 8, 8, 3)), RNG.standard_normal((12, 16))
        arrays = [v.astype("float32") for v in values]
        return model, [float(model.train_step(*arrays)) for _ in range(4)]


def test_a_batch_norm_reads_its_input_once_for_each_fold_and_once_for_its_result():
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state
    model, losses = trained("")
    RNG.bit_generator.state = np.random.default_rng(5).bit_generator.state
    other, same = trained("recompute")
    np.testing.assert_allclose(losses, same, rtol=1e-6)
    assert hits(model.report) == {"columns": 2}  # of the mean, with the bias, and the variance
    forward = [k for k in model.report.kernels if k.phase == "forward"]
    size = 12 * 8 * 8 * 16 * 4
    read = [k.computes for k in forward if k.bytes >= size and "matmul" not in k.computes]
    assert read == [
        "add, sum", "add, subtract, square, sum", "add, subtract, multiply, relu",
        "sum",  # the mean over all places, of what the activation leaves
    ]  # fmt: skip
    assert sum(k.bytes for k in model.report.kernels) < sum(k.bytes for k in other.report.kernels)
    assert model.report.arena_bytes <= other.report.arena_bytes + 1024


def values_of(make, shape, passes):
    with gx.config(disable_passes=passes):
        x = gx.input("x", (None, *shape[1:]), "float64")
        f = gx.function(x, make(x))
        return f, f(np.random.default_rng(1).standard_normal(shape))


CASES = [
    (lambda x: [gx.var(gx.exp(x) @ np.ones((5, 4)), 0), x], 0),
    (lambda x: (lambda h: [gx.sum(h * 2.0, 0), gx.sum(h, 1)])(gx.stack([x, x])[0] + 1.0), None),
    (lambda x: (lambda h: [gx.max(h * h, 0), h])(x + 1.0), 0),  # an output lies in memory anyway
    (lambda x: (lambda h: [gx.max(h * h, 0), h @ h.T])(x + 1.0), 0),  # as does what a product reads
    (lambda x: (lambda h: [gx.sum(h * h, 0), h * 3.0])(gx.sin(x)), 0),  # dear
    (
        lambda x: (lambda h: [gx.sum(h * h, 0), h * 3.0])(x * gx.cumulative_sum(x, axis=0)),
        0,
    ),  # of two
    (lambda x: (lambda h: [gx.sum(h * h, 0), h * 3.0])(x * gx.flip(x, 0)), 1),
    (lambda x: (lambda h: [gx.sum(h * h, 0), h * 3.0])(x + 1.0), 1),
    (lambda x: (lambda h: [gx.sum(gx.abs(-h) + 1.0, 0), h * 3.0])(x - gx.mean(x, 0)), 1),
    (lambda x: (lambda h: [gx.sum(h * h, 1), h * 3.0])(x + 1.0), 0),  # no columns
]


@pytest.mark.parametrize(("make", "count"), CASES)
def test_what_is_computed_again_has_the_same_value(make, count):
    f, found = values_of(make, (7, 5), "")
    _, wanted = values_of(make, (7, 5), "recompute")
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-14)
    if count is not None:
        assert hits(f.report).get("columns", 0) == count
