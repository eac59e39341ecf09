"""The losses of margins, distances, likelihoods and regions against PyTorch, every option tried."""

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.ir.interpret import evaluate

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(3)
X, Y, Z = (RNG.standard_normal((6, 5)) * 2 for _ in range(3))
P = RNG.uniform(0.02, 0.98, (6, 5))
HALVES = np.round(X * 2) / 2
"""Values on a grid, so that margins are met exactly."""
BITS = (RNG.random((6, 5)) < 0.5).astype("float64")
SIGNS = 2 * BITS - 1
COUNTS = np.maximum(RNG.integers(0, 6, (6, 5)), 0.5)  # PyTorch's gradient by a target of 0 is NaN
LABELS = np.array([0, 4, 2, 2, 1, 3])
LISTS = np.array([[0, 3, -1, 2, 2], [4, 4, 1, -1, 0], [-1] * 5, [0, 1, 2, 3, 4], [2, -1, -1, 0, 1],
                  [3, 3, 3, -1, -1]])  # fmt: skip
WEIGHT = RNG.random(5) + 0.5
FULL = RNG.random((6, 5)) + 0.5
REDUCTIONS = ["mean", "sum", "none"]


def options(**choices):
    return [dict(zip(choices, c, strict=True)) for c in itertools.product(*choices.values())]


def torch_focal(x, y, alpha, gamma, reduction):
    """What torchvision's ``sigmoid_focal_loss`` computes."""
    p = torch.sigmoid(x)
    q = p * y + (1 - p) * (1 - y)
    loss = F.binary_cross_entropy_with_logits(x, y, reduction="none") * (1 - q) ** gamma
    if alpha is not None:
        loss = (alpha * y + (1 - alpha) * (1 - y)) * loss
    return {"mean": loss.mean(), "sum": loss.sum(), "none": loss}[reduction]


CASES = {
    "mse_loss": ((X, Y), options(weight=[None, FULL])),
    "l1_loss": ((X, Y), options(weight=[None, FULL])),
    "huber_loss": ((X, Y), options(weight=[None, FULL], delta=[1.0, 0.4])),
    "poisson_nll_loss": (
        (P, COUNTS), options(log_input=[True, False], full=[False, True], eps=[1e-8, 1e-2]),
    ),
    "binary_cross_entropy": ((P, BITS), options(weight=[None, FULL])),
    "soft_margin_loss": ((X, SIGNS), [{}]),
    "hinge_embedding_loss": ((HALVES, SIGNS), options(margin=[1.0, 0.5])),
    "margin_ranking_loss": ((HALVES, np.round(Y), SIGNS), options(margin=[0.0, 0.5])),
    "cosine_embedding_loss": ((X, Y, SIGNS[:, 0]), options(margin=[0.0, 0.3])),
    "triplet_margin_loss": (
        (X, Y, Z), options(margin=[1.0, 3.0], p=[2.0, 1.0, 3.0], eps=[1e-6, 1e-3],
                           swap=[False, True]),
    ),
    "triplet_margin_with_distance_loss": ((X, Y, Z), options(margin=[1.0, 3.0],
                                                             swap=[False, True])),
    "multi_margin_loss": (
        (HALVES, LABELS), options(p=[1, 2], margin=[1.0, 0.5], weight=[None, WEIGHT]),
    ),
    "multilabel_margin_loss": ((HALVES, LISTS), [{}]),
    "multilabel_soft_margin_loss": ((X, BITS), options(weight=[None, WEIGHT])),
}  # fmt: skip


def compare(mine, reference, arrays, reduction):
    """Compare values, and gradients by all floating-point arguments."""
    floats = [i for i, a in enumerate(arrays) if a.dtype.kind == "f"]
    tensors = [gx.input(f"t{i}", a.shape, dtype=a.dtype) for i, a in enumerate(arrays)]
    value = mine(*tensors)
    wrt = [tensors[i] for i in floats]
    gradients = gx.grad(gx.sum(value), wrt, unconnected="zero")
    feeds = dict(zip(tensors, arrays, strict=True))
    found = evaluate([value, *gradients], feeds)

    given = [torch.tensor(a, requires_grad=i in floats) for i, a in enumerate(arrays)]
    expected = reference(*given)
    slopes = torch.autograd.grad(expected.sum(), [given[i] for i in floats], allow_unused=True)
    assert found[value].shape == tuple(expected.shape)
    np.testing.assert_allclose(found[value], expected.detach().numpy(), rtol=1e-10, atol=1e-12)
    for ours, theirs, array in zip(gradients, slopes, (arrays[i] for i in floats), strict=True):
        wanted = np.zeros(array.shape) if theirs is None else theirs.numpy()
        np.testing.assert_allclose(found[ours], wanted, rtol=1e-10, atol=1e-12)


def tensors_of(values):
    return {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in values.items()}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", CASES)
def test_every_option_is_pytorchs(name, reduction):
    arrays, choices = CASES[name]
    if name in ("soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss",
                "cosine_embedding_loss"):  # fmt: skip
        arrays = (*arrays[:-1], arrays[-1].astype("int64"))
    for chosen in choices:
        compare(
            lambda *t, c=chosen: getattr(nn, name)(*t, **c, reduction=reduction),
            lambda *t, c=chosen: getattr(F, name)(*t, **tensors_of(c), reduction=reduction),
            arrays,
            reduction,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("shape", [(6, 5), (6, 1), (6,), (1, 5)])
def test_gaussian_nll(shape, full, reduction):
    variances = np.random.default_rng(0).uniform(0.0, 0.6, shape)  # below eps too
    extra = {"full": full, "eps": 0.2, "reduction": reduction}
    compare(
        lambda x, y, v: nn.gaussian_nll_loss(x, y, v, **extra),
        lambda x, y, v: F.gaussian_nll_loss(x, y, v, **extra),
        (X, Y, variances),
        reduction,
    )
    compare(
        lambda x, y: nn.gaussian_nll_loss(x, y, 0.7, **extra),
        lambda x, y: F.gaussian_nll_loss(x, y, 0.7, **extra),
        (X, Y),
        reduction,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("alpha", [0.25, None])
@pytest.mark.parametrize("gamma", [0.0, 1.5, 2.0])
def test_focal(gamma, alpha, reduction):
    for targets in (BITS, P):
        compare(
            lambda x, y: nn.focal_loss(x, y, alpha=alpha, gamma=gamma, reduction=reduction),
            lambda x, y: torch_focal(x, y, alpha, gamma, reduction),
            (X, targets),
            reduction,
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_regions(reduction):
    p, y = RNG.random((2, 3, 4, 5)), (RNG.random((2, 3, 4, 5)) < 0.4).astype("float64")

    def close(loss):
        return {"mean": loss.mean(), "sum": loss.sum(), "none": loss}[reduction]

    for smooth in (1.0, 0.1):
        compare(
            lambda p, y, s=smooth: nn.dice_loss(p, y, smooth=s, reduction=reduction),
            lambda p, y, s=smooth: close(
                1 - (2 * (p * y).sum((1, 2)) + s) / (p.sum((1, 2)) + y.sum((1, 2)) + s)
            ),
            (p, y),
            reduction,
        )
        compare(
            lambda p, y, s=smooth: nn.tversky_loss(
                p, y, alpha=0.3, beta=0.7, smooth=s, reduction=reduction
            ),
            lambda p, y, s=smooth: close(
                1 - ((p * y).sum((1, 2)) + s)
                / ((p * y).sum((1, 2)) + 0.3 * (p * (1 - y)).sum((1, 2))
                   + 0.7 * ((1 - p) * y).sum((1, 2)) + s)
            ),
            (p, y), reduction,
        )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_formulas(reduction):
    def close(loss):
        return {"mean": loss.mean(), "sum": loss.sum(), "none": loss}[reduction]

    extra = {"reduction": reduction}
    compare(
        lambda x, y: nn.log_cosh_loss(x, y, **extra),
        lambda x, y: close((x - y).abs() + torch.log1p(torch.exp(-2 * (x - y).abs())) - np.log(2)),
        (X, Y), reduction,
    )  # fmt: skip
    for q in (0.1, 0.5, np.linspace(0.1, 0.9, 5)):
        compare(
            lambda x, y, q=q: nn.quantile_loss(x, y, q=q, **extra),
            lambda x, y, q=torch.tensor(q, dtype=torch.float64): close(
                torch.maximum(q * (y - x), (q - 1) * (y - x))
            ),
            (X, Y), reduction,
        )  # fmt: skip
    compare(
        lambda a, b, y: nn.contrastive_loss(a, b, y, margin=4.0, **extra),
        lambda a, b, y: close(
            0.5 * (y * (a - b).norm(dim=-1) ** 2
                   + (1 - y) * torch.relu(4.0 - (a - b).norm(dim=-1)) ** 2)
        ),
        (X, Y, BITS[:, 0]), reduction,
    )  # fmt: skip


def test_nll_over_images():
    scores = RNG.standard_normal((2, 4, 3, 5))
    labels = RNG.integers(0, 5, (2, 4, 3))
    for weight, ignore, reduction in itertools.product((None, WEIGHT), (None, 2), REDUCTIONS):
        compare(
            lambda x, y, w=weight, i=ignore, r=reduction: nn.nll_loss(
                x, y, weight=w, ignore_index=i, reduction=r
            ),
            lambda x, y, w=weight, i=ignore, r=reduction: F.nll_loss(
                x.movedim(-1, 1).contiguous(), y, weight=None if w is None else torch.tensor(w),
                ignore_index=-100 if i is None else i, reduction=r,
            ),
            (scores, labels), reduction,
        )  # fmt: skip


def test_pairwise_distance():
    for p, keep in itertools.product((1.0, 2.0, 3.5, np.inf), (False, True)):
        compare(
            lambda a, b, p=p, k=keep: nn.pairwise_distance(a, b, p=p, keepdims=k),
            lambda a, b, p=p, k=keep: F.pairwise_distance(a, b, p=p, keepdim=k),
            (X, Y), "none",
        )  # fmt: skip


def test_one_row_is_a_loss_without_rows():
    for name in ("multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss",
                 "cosine_embedding_loss"):  # fmt: skip
        arrays = tuple(a[0] if a.ndim else a for a in CASES[name][0])
        compare(
            lambda *t, n=name: getattr(nn, n)(*t, reduction="none"),
            lambda *t, n=name: getattr(F, n)(*t, reduction="none"),
            tuple(np.asarray(a) for a in arrays), "none",
        )  # fmt: skip


def test_sure_predictions_stay_finite():
    x = np.array([1e4, -1e4, 1e4, -1e4])
    y = np.array([1.0, 0.0, 0.0, 1.0])
    for loss in (nn.focal_loss, nn.soft_margin_loss, nn.multilabel_soft_margin_loss,
                 nn.log_cosh_loss):  # fmt: skip
        t = gx.input("x", (4,), dtype="float64")
        value = loss(t, y)
        values = evaluate([value, gx.grad(value, t)], {t: x})
        assert all(np.isfinite(v).all() for v in values.values())
    t = gx.input("p", (2,), dtype="float64")
    value = nn.binary_cross_entropy(t, np.array([0.0, 1.0]), reduction="none")
    np.testing.assert_array_equal(evaluate([value], {t: np.array([1.0, 0.0])})[value], [100, 100])


def test_compiled_losses_are_those_of_the_interpreter():
    for name, (arrays, choices) in CASES.items():
        chosen = choices[-1] if choices[-1].get("weight") is not FULL else {}
        tensors = [gx.input(f"t{i}", (None, *a.shape[1:]), a.dtype) for i, a in enumerate(arrays)]
        value = getattr(nn, name)(*tensors, **chosen)
        both = [value, gx.grad(value, tensors[0])]
        found = evaluate(both, dict(zip(tensors, arrays, strict=True)), len(X))
        got = gx.function(tensors, both)(*arrays)
        for ours, theirs in zip(got, both, strict=True):
            np.testing.assert_allclose(ours, found[theirs], rtol=1e-12, atol=1e-13, err_msg=name)


BAD = {
    "margin of a triplet": (lambda: nn.triplet_margin_loss(X, Y, Z, margin=0.0), "margin"),
    "axes of a triplet": (lambda: nn.triplet_margin_loss(X, Y, Z[0]), "as many axes"),
    "axes of a ranking": (lambda: nn.margin_ranking_loss(X, Y, SIGNS[0]), "as many axes"),
    "targets of cosines": (lambda: nn.cosine_embedding_loss(X, Y, SIGNS), "one number a row"),
    "axes of cosines": (lambda: nn.cosine_embedding_loss(X[None], Y[None], SIGNS), "shape"),
    "p of margins": (lambda: nn.multi_margin_loss(X, LABELS, p=3), "p must be 1 or 2"),
    "weight of margins": (lambda: nn.multi_margin_loss(X, LABELS, weight=FULL), "each of 5"),
    "labels of margins": (lambda: nn.multi_margin_loss(X, LABELS[:3]), "shape"),
    "axes of margins": (lambda: nn.multi_margin_loss(X[None], LABELS[None]), "shape"),
    "lists": (lambda: nn.multilabel_margin_loss(X, LISTS[:, :3]), "shape of the scores"),
    "variance": (lambda: nn.gaussian_nll_loss(X, Y, -1.0), "not be negative"),
    "shape of variances": (lambda: nn.gaussian_nll_loss(X, Y, FULL[:, :2]), "one variance"),
    "gaussian reduction": (lambda: nn.gaussian_nll_loss(X, Y, 1.0, reduction="x"), "reduction"),
    "poisson reduction": (lambda: nn.poisson_nll_loss(X, Y, reduction="x"), "reduction"),
    "weight of squares": (lambda: nn.mse_loss(X, Y, weight=FULL[:, :2]), "reshape"),
    "targets of probabilities": (lambda: nn.binary_cross_entropy(P, BITS[:, :2]), "reshape"),
    "no classes": (lambda: nn.multilabel_soft_margin_loss(np.array(1.0), 1.0), "classes"),
    "level": (lambda: nn.quantile_loss(X, Y, q=1.0), "q must"),
    "gamma": (lambda: nn.focal_loss(X, BITS, gamma=-1.0), "gamma"),
    "alpha": (lambda: nn.focal_loss(X, BITS, alpha=2.0), "alpha"),
    "places of regions": (lambda: nn.dice_loss(P, BITS), "N, ..., C"),
}


@pytest.mark.parametrize("case", BAD)
def test_errors_name_what_is_wrong_and_where(case):
    wrong, hint = BAD[case]
    with pytest.raises(ValueError, match=hint) as error:
        wrong()
    assert "test_losses_torch.py:" in str(error.value)


def test_a_label_that_is_no_class_is_an_error():
    x, y = gx.input("x", (None, 3)), gx.input("y", (None,), "int64")
    f = gx.function([x, y], nn.multi_margin_loss(x, y))
    with pytest.raises(IndexError, match="index 3"):
        f(np.zeros((2, 3)), np.array([0, 3]))
    with pytest.raises(TypeError, match="integers"):
        nn.multi_margin_loss(x, x[:, 0])
