"""Losses of sequences beside PyTorch's: CTC, and cross-entropy of steps of which some are none."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.errors import ArgumentError, DTypeError, ShapeError

RNG = np.random.default_rng(0)
N, T, S, C = 5, 9, 4, 6


def torch():
    return pytest.importorskip("torch")


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-10)


def some(blank):
    """Return logits, targets and lengths: equal labels one after the other, samples of no label."""
    others = np.array([c for c in range(C) if c != blank])
    targets = others[RNG.integers(0, C - 1, (N, S))]
    targets[1, 1] = targets[1, 0]
    targets[2] = others[:S]  # as many steps as labels
    return (
        RNG.standard_normal((N, T, C)),
        targets,
        np.array([9, 7, 4, 9, 5]),
        np.array([4, 3, 4, 0, 1]),
    )


def ours(x, y, n, m, **options):
    batch = x.shape[: x.ndim - 2]
    logits = gx.input("x", x.shape, "float64")
    rest = [gx.input(k, v.shape, "int64") for k, v in (("y", y), ("n", n), ("m", m))]
    loss = nn.ctc_loss(gx.log_softmax(logits), *rest, **options)
    total = gx.sum(gx.where(gx.isinf(loss), 0.0, gx.sin(loss))) if batch or loss.ndim else loss
    return gx.function([logits, *rest], [loss, gx.grad(total, logits)])(x, y, n, m)


@pytest.mark.parametrize("blank", [0, 2])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_ctc_is_pytorchs(reduction, blank):
    t = torch()
    x, y, n, m = some(blank)
    loss, slope = ours(x, y, n, m, reduction=reduction, blank=blank)
    a = t.tensor(x, requires_grad=True)
    log_probs = t.log_softmax(a, -1).transpose(0, 1)
    wanted = t.nn.functional.ctc_loss(
        log_probs, *map(t.tensor, (y, n, m)), reduction=reduction, blank=blank
    )
    close(loss, wanted.detach().numpy())
    wanted.sin().sum().backward()
    close(slope, a.grad.numpy())


def test_too_few_steps_are_infinite_or_nothing():
    t = torch()
    x, y, n, m = some(0)
    y[2] = 3  # four times the same label need seven steps, and there are four
    arguments = (*map(t.tensor, (y, n, m)),)
    for zero_infinity in (False, True):
        a = t.tensor(x, requires_grad=True)
        log_probs = t.log_softmax(a, -1).transpose(0, 1)
        wanted = t.nn.functional.ctc_loss(
            log_probs, *arguments, reduction="none", zero_infinity=zero_infinity
        )
        loss, slope = ours(x, y, n, m, reduction="none", zero_infinity=zero_infinity)
        close(loss, wanted.detach().numpy())
        assert np.isinf(loss[2]) != zero_infinity
        assert np.isfinite(slope).all()
        assert not slope[2].any()
    wanted.sin().sum().backward()
    close(slope, a.grad.numpy())


def test_ctc_without_a_batch_and_in_float32():
    t = torch()
    x, y, n, m = (a[1] for a in some(0))
    loss, slope = ours(x, y, n, m)
    a = t.tensor(x, requires_grad=True)
    wanted = t.nn.functional.ctc_loss(t.log_softmax(a, -1), *map(t.tensor, (y[:m], n, m)))
    wanted.backward()
    close(loss, wanted.item())
    close(slope, a.grad.numpy())
    single = gx.constant(x.astype("float32"))
    value = nn.ctc_loss(gx.log_softmax(single), gx.constant(y), int(n), int(m))
    np.testing.assert_allclose(gx.function([], value)(), wanted.item(), rtol=1e-5)


def test_ctc_is_the_sum_over_all_paths():
    x = RNG.standard_normal((4, 3))
    probs = np.exp(x) / np.exp(x).sum(1, keepdims=True)
    for labels in ([1], [1, 2], [2, 2], []):
        total = 0.0
        for path in itertools.product(range(3), repeat=4):
            spelled = [k for k, _ in itertools.groupby(path) if k]
            total += np.prod(probs[range(4), path]) * (spelled == labels)
        y = np.array([*labels, 0, 0])[:2]
        loss, _ = ours(x, y, np.array(4), np.array(len(labels)), reduction="sum")
        close(loss, -np.log(total))


def test_ctc_looks_at_nothing_behind_the_ends_and_has_second_derivatives():
    x, y, n, m = some(0)
    spoiled, other = x.copy(), y.copy()
    for row, steps, labels in zip(range(N), n, m, strict=True):
        spoiled[row, steps:] = np.nan
        other[row, labels:] = -7
    found, slope = ours(x, y, n, m)
    again, same = ours(spoiled, other, n, m)
    assert found == again
    np.testing.assert_array_equal(np.where(np.isnan(spoiled), 0.0, same),
                                  np.where(np.isnan(spoiled), 0.0, slope))  # fmt: skip
    logits = gx.input("x", x.shape, "float64")
    loss = nn.ctc_loss(gx.log_softmax(logits), *map(gx.constant, (y, n, m)))
    gx.check_grads(loss, logits, {logits: x})


def test_ctc_of_open_sizes():
    logits = gx.input("x", (None, "time", C), "float64")
    rest = [gx.input("y", (None, "labels"), "int64"), gx.input("n", (None,), "int64"),
            gx.input("m", (None,), "int64")]  # fmt: skip
    loss = nn.ctc_loss(gx.log_softmax(logits), *rest, reduction="none")
    f = gx.function([logits, *rest], [loss, gx.grad(gx.sum(loss), logits)])
    for rows, steps in ((5, 9), (2, 8)):
        x, y, n, m = some(0)
        x, y, n, m = x[:rows, :steps], y[:rows], np.minimum(n, steps)[:rows], m[:rows]
        close(f(x, y, n, m)[0], ours(x, y, n, m, reduction="none")[0])


@pytest.mark.parametrize(
    ("arguments", "options", "kind", "message"),
    [
        ((0, 1, 2, 2), {}, DTypeError, "input_lengths must be integers"),
        ((0, 0, 2, 3), {}, DTypeError, "targets must be integers"),
        ((0, 1, 1, 3), {}, ShapeError, "lengths have one element for each sample"),
        ((0, 2, 2, 3), {}, ShapeError, r"targets have axes \(N, S\)"),
        ((0, 1, 2, 3), {"blank": 6}, ArgumentError, "blank is 6, which is none of 6 classes"),
        ((0, 1, 2, 3), {"blank": 1.5}, ArgumentError, "blank must be an integer"),
        ((0, 1, 2, 3), {"reduction": "max"}, ArgumentError, "reduction must be"),
    ],
)
def test_what_ctc_refuses(arguments, options, kind, message):
    given = [gx.constant(a) for a in some(0)]
    if message.startswith("input_lengths"):
        given[2] = gx.constant(np.ones((N, 1)))
    with pytest.raises(kind, match=f"ctc_loss: .*({message})(.|\\n)*test_losses_sequences.py"):
        nn.ctc_loss(*(given[k] for k in arguments), **options)


# -- steps of which some are none ------------------------------------------------------------------


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_sequences_is_pytorchs(reduction, smoothing, weighted):
    t = torch()
    x, y = RNG.standard_normal((N, T, C)), RNG.integers(0, C, (N, T))
    y[:, 6:] = -100
    weight = RNG.random(C) if weighted else None
    logits, labels = gx.input("x", (None, T, C), "float64"), gx.input("y", (None, T), "int64")
    loss = nn.cross_entropy(logits, labels, ignore_index=-100, label_smoothing=smoothing,
                            reduction=reduction, weight=weight)  # fmt: skip
    value, slope = gx.function([logits, labels], [loss, gx.grad(gx.sum(gx.sin(loss)), logits)])(
        x, y
    )
    a = t.tensor(x, requires_grad=True)
    wanted = t.nn.functional.cross_entropy(
        a.transpose(1, 2), t.tensor(y), ignore_index=-100, label_smoothing=smoothing,
        reduction=reduction, weight=None if weight is None else t.tensor(weight),
    )  # fmt: skip
    close(value, wanted.detach().numpy())
    wanted.sin().sum().backward()
    close(slope, a.grad.numpy())


def test_means_of_what_is_there():
    x = RNG.standard_normal((3, 4, 2))
    ends = np.array([2, 4, 0])
    there = np.arange(4) < ends[:, None]
    spoiled = np.where(there[:, :, None], x, np.nan)
    t, lengths = gx.input("x", (None, 4, 2), "float64"), gx.input("n", (None,), "int32")
    mask = nn.sequence_mask(lengths, 4)
    means = [nn.masked_mean(t, mask), nn.masked_mean(t, mask, axis=1)]
    slope = gx.grad(gx.sum(gx.square(means[1])), t)
    found = gx.function([t, lengths], [mask, *means, slope])(spoiled, ends.astype("int32"))
    np.testing.assert_array_equal(found[0], there)
    close(found[1], x[there].mean())
    close(found[2], np.stack([x[0, :2].mean(0), x[1].mean(0), np.zeros(2)]))
    assert np.isfinite(found[3]).all()
    assert not found[3][~there].any()
    with pytest.raises(DTypeError, match="mask must be of bool"):
        nn.masked_mean(t, lengths)
    with pytest.raises(ShapeError, match="a mask has the first axes"):
        nn.masked_mean(t, gx.constant([True]))


def test_lengths_of_ctc_that_are_known_are_within():
    x, y, n, m = some(0)
    rest = [("input_lengths", n, m), ("target_lengths", n, m)]
    for number, (name, *lengths) in enumerate(rest):
        for wrong in (-2, 99):
            lengths[number] = np.where(np.arange(N) == 1, wrong, lengths[number])
            with pytest.raises(ArgumentError, match=rf"{name} must be from 0 to \d+, got {wrong}"):
                nn.ctc_loss(x, y, *lengths)
