"""Losses and metrics against PyTorch in float64: values, gradients, extremes, errors."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn
from graphc.ir.interpret import evaluate

torch = pytest.importorskip("torch")
F = torch.nn.functional

RNG = np.random.default_rng(0)
EXACT = {"rtol": 1e-12, "atol": 1e-14}
REDUCTIONS = ["mean", "sum", "none"]


def ours(loss, *arrays):
    """Return the value of ``loss`` and the gradient of its sum by its first argument."""
    tensors = [gx.input(f"t{i}", a.shape, dtype=a.dtype) for i, a in enumerate(arrays)]
    value = loss(*tensors)
    gradient = gx.grad(value.sum() if value.ndim else value, tensors[0])
    values = evaluate([value, gradient], dict(zip(tensors, arrays, strict=True)))
    return values[value], values[gradient]


def theirs(loss, *arrays):
    tensors = [torch.tensor(a) for a in arrays]
    tensors[0].requires_grad_()
    value = loss(*tensors)
    (gradient,) = torch.autograd.grad(value.sum(), tensors[0])
    return value.detach().numpy(), gradient.numpy()


def check(mine, reference, *arrays):
    for got, expected in zip(ours(mine, *arrays), theirs(reference, *arrays), strict=True):
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, **EXACT)


X = RNG.standard_normal((6, 5)) * 3
Y = RNG.standard_normal((6, 5)) * 3
BINARY = (RNG.random((6, 5)) < 0.5).astype("float64")
PROBS = RNG.dirichlet(np.ones(5), 6)
LABELS = np.array([0, 4, 2, 2, 1, 3])
WEIGHT = RNG.random(5) + 0.5


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(
    ("mine", "reference", "options"),
    [
        (nn.mse_loss, F.mse_loss, {}),
        (nn.l1_loss, F.l1_loss, {}),
        (nn.huber_loss, F.huber_loss, {}),
        (nn.huber_loss, F.huber_loss, {"delta": 2.5}),
        (nn.smooth_l1_loss, F.smooth_l1_loss, {}),
        (nn.smooth_l1_loss, F.smooth_l1_loss, {"beta": 0.3}),
        (nn.smooth_l1_loss, F.smooth_l1_loss, {"beta": 0.0}),
    ],
)
def test_regression(mine, reference, options, reduction):
    options = {**options, "reduction": reduction}
    check(lambda x, y: mine(x, y, **options), lambda x, y: reference(x, y, **options), X, Y)
    check(lambda x, y: mine(x, y, **options), lambda x, y: reference(x, y, **options), X, X)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("positive", [False, True])
@pytest.mark.parametrize("targets", [BINARY, PROBS])
def test_binary_cross_entropy(targets, positive, weighted, reduction):
    options = {"pos_weight": WEIGHT} if positive else {}
    if weighted:
        options["weight"] = WEIGHT[::-1].copy()
    check(
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, **options, reduction=reduction),
        lambda x, y: F.binary_cross_entropy_with_logits(
            x, y, **{k: torch.tensor(v) for k, v in options.items()}, reduction=reduction
        ),
        X, targets,
    )  # fmt: skip


def label_cases(rng):
    yield X, LABELS, -1, lambda t: t
    yield X[0], LABELS[1], -1, lambda t: t
    deep = rng.standard_normal((2, 3, 4, 5))
    yield deep, rng.integers(0, 5, (2, 3, 4)), -1, lambda t: t.movedim(-1, 1)
    yield deep, rng.integers(0, 3, (2, 4, 5)), 1, lambda t: t


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [None, 2, -100])
def test_cross_entropy_of_labels(ignore, weighted, smoothing, reduction):
    for logits, labels, axis, move in label_cases(np.random.default_rng(1)):
        if ignore == -100 and labels.ndim:
            labels = np.where(labels == 1, -100, labels)
        weight = WEIGHT[: logits.shape[axis]] if weighted else None
        common = {"label_smoothing": smoothing, "reduction": reduction}
        check(
            lambda x, y: nn.cross_entropy(
                x, y, axis=axis, weight=weight, ignore_index=ignore, **common
            ),
            lambda x, y: F.cross_entropy(
                move(x), y, weight=None if weight is None else torch.tensor(weight),
                ignore_index=-100 if ignore is None else ignore, **common,
            ),
            logits, labels,
        )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_of_probabilities(weighted, smoothing, reduction):
    common = {"label_smoothing": smoothing, "reduction": reduction}
    for axis, move in ((-1, lambda t: t), (0, lambda t: t.T)):
        weight = RNG.random(X.shape[axis]) if weighted else None
        check(
            lambda x, y: nn.cross_entropy(x, y, axis=axis, weight=weight, **common),
            lambda x, y: F.cross_entropy(
                move(x), move(y), weight=None if weight is None else torch.tensor(weight), **common
            ),
            X, PROBS,
        )  # fmt: skip


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("ignore", [None, 2])
def test_nll(ignore, weighted, reduction):
    weight = WEIGHT if weighted else None
    check(
        lambda x, y: nn.nll_loss(x, y, weight=weight, ignore_index=ignore, reduction=reduction),
        lambda x, y: F.nll_loss(
            x, y, weight=None if weight is None else torch.tensor(weight),
            ignore_index=-100 if ignore is None else ignore, reduction=reduction,
        ),
        X, LABELS,
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore:reduction")  # PyTorch warns of its own default
@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
@pytest.mark.parametrize("log_target", [False, True])
def test_kl_div(log_target, reduction):
    targets = np.log(PROBS) if log_target else np.where(PROBS > 0.2, PROBS, 0.0)
    check(
        lambda x, y: nn.kl_div(x, y, log_target=log_target, reduction=reduction),
        lambda x, y: F.kl_div(x, y, log_target=log_target, reduction=reduction),
        X, targets,
    )  # fmt: skip


def test_kl_div_of_a_zero_target_has_a_finite_gradient_for_the_target():
    y = gx.input("y", (3,), dtype="float64")
    gradient = gx.grad(nn.kl_div(np.log([0.2, 0.3, 0.5]), y).sum(), y)
    assert np.isfinite(evaluate([gradient], {y: np.array([0.0, 0.5, 0.5])})[gradient]).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_hinge(reduction):
    signs = BINARY * 2 - 1
    value, gradient = ours(lambda x, y: nn.hinge_loss(x, y, reduction=reduction), X, signs)
    each = np.maximum(0, 1 - signs * X)
    expected = {"mean": each.mean(), "sum": each.sum(), "none": each}[reduction]
    np.testing.assert_allclose(value, expected, **EXACT)
    scale = each.size if reduction == "mean" else 1
    np.testing.assert_allclose(gradient, np.where(each > 0, -signs, 0) / scale, **EXACT)
    assert nn.hinge is nn.hinge_loss


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_logits_stay_finite(dtype):
    logits = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [1e4, 1e4, 1e4]], dtype)
    onehot = np.eye(3, dtype=dtype)
    for loss in (
        lambda x: nn.cross_entropy(x, np.array([1, 0, 2]), reduction="none"),
        lambda x: nn.cross_entropy(x, onehot, label_smoothing=0.1, reduction="none"),
        lambda x: nn.binary_cross_entropy_with_logits(x, onehot, reduction="none"),
        lambda x: nn.binary_cross_entropy_with_logits(
            x, onehot, pos_weight=2.0, reduction="none"),
        lambda x: nn.mse_loss(x, onehot), lambda x: nn.huber_loss(x, onehot),
        lambda x: nn.hinge_loss(x, onehot),
    ):  # fmt: skip
        value, gradient = ours(loss, logits)
        assert value.dtype == dtype
        assert np.isfinite(value).all()
        assert np.isfinite(gradient).all()
    value, _ = ours(lambda x: nn.cross_entropy(x, np.array([1, 2, 0]), reduction="none"), logits)
    np.testing.assert_allclose(value, [2e4, 0.0, np.log(3.0)], rtol=1e-3)


def test_the_data_type_is_that_of_the_predictions():
    x = gx.input("x", (None, 3))
    for y in (gx.input("y", (None, 3), dtype=d) for d in ("float64", "int64", "bool")):
        assert nn.mse_loss(x, y).dtype == "float32"
        assert nn.binary_cross_entropy_with_logits(x, y).dtype == "float32"
    y = gx.input("y", (None,), dtype="int32")
    assert nn.cross_entropy(x, y, weight=np.ones(3), label_smoothing=0.1).dtype == "float32"


def test_wrong_shapes_name_both_operands_the_remedy_and_the_line():
    x, y = gx.input("scores", (None, 3)), gx.input("truth", (None, 4), dtype="int64")
    column, row = gx.input("column", (None, 1)), gx.input("row", (None,))
    for loss, a, b, hint in [
        (nn.cross_entropy, x, y, "integer labels need the shape"),
        (nn.cross_entropy, x, row, "int64"),
        (nn.nll_loss, x, y, "integer labels"),
        (nn.mse_loss, column, row, "reshape"),
        (nn.l1_loss, row, column, "reshape"),
        (nn.accuracy, x, y, "do not fit"),
        (nn.top_k_accuracy, x, y, "do not fit"),
    ]:
        with pytest.raises(ValueError, match=hint) as error:
            loss(a, b)
        for part in (loss.__name__, a.name, b.name, "test_losses.py:"):
            assert part in str(error.value)


def test_bad_options():
    x, y = gx.input("x", (None, 3)), gx.input("y", (None,), dtype="int64")
    for options, hint in [
        ({"reduction": "avg"}, "reduction"),
        ({"label_smoothing": 1.5}, "label_smoothing"),
        ({"weight": np.ones(4)}, "each of 3 classes"),
        ({"axis": 5}, "axis 5"),
    ]:
        with pytest.raises(ValueError, match=hint):
            nn.cross_entropy(x, y, **options)
    with pytest.raises(ValueError, match="ignore_index"):
        nn.cross_entropy(x, x, ignore_index=0)
    with pytest.raises(TypeError, match="integers"):
        nn.nll_loss(x, x)
    with pytest.raises(TypeError, match="floating-point"):
        nn.mse_loss(y, y)
    with pytest.raises(ValueError, match="delta"):
        nn.huber_loss(x, x, delta=0)


def score(metric, logits, labels, **options):
    x = gx.input("x", (None, *logits.shape[1:]), dtype=logits.dtype)
    y = gx.input("y", (None, *labels.shape[1:]), dtype=labels.dtype)
    value = metric(x, y, **options)
    assert value.dtype == "float32"
    assert value.shape == ()
    return float(evaluate([value], {x: logits, y: labels})[value])


def test_accuracy():
    expected = np.float32((X.argmax(1) == LABELS).mean())
    assert score(nn.accuracy, X, LABELS) == expected
    assert score(nn.accuracy, X, LABELS.astype("int32")) == expected
    assert score(nn.accuracy, X, np.eye(5)[LABELS]) == expected
    assert score(nn.accuracy, X[None], LABELS[None]) == expected
    logits, truth = X[:, 0], BINARY[:, 0].astype("int64")
    expected = np.float32(((logits > 0) == truth).mean())
    for a in (logits, logits[:, None]):
        for b in (truth, truth[:, None], truth[:, None].astype("float32")):
            assert score(nn.accuracy, a, b) == expected


def test_top_k_accuracy():
    for k in range(1, 6):
        order = np.argsort(-X, axis=1, kind="stable")[:, :k]
        expected = np.float32((order == LABELS[:, None]).any(1).mean())
        assert score(nn.top_k_accuracy, X, LABELS, k=k) == expected
        assert score(nn.top_k_accuracy, X, np.eye(5)[LABELS], k=k) == expected
    ties = np.zeros((4, 5))
    assert score(nn.top_k_accuracy, ties, np.array([0, 1, 2, 3]), k=2) == 0.5
    assert score(nn.top_k_accuracy, ties * np.nan, np.array([0, 1, 2, 3]), k=2) == 0.0
    with pytest.raises(ValueError, match="k must be"):
        score(nn.top_k_accuracy, X, LABELS, k=0)


@pytest.mark.parametrize("label", [-1, 3])
def test_a_label_outside_the_classes_is_an_error(label):
    x, y = gx.input("x", (None, 3)), gx.input("y", (None,), "int64")
    f = gx.function([x, y], nn.cross_entropy(x, y))
    with pytest.raises(IndexError, match=f"index {label} in y: .* axis of size 3"):
        f(np.zeros((2, 3)), np.array([0, label]))


INF = np.inf
SURE = np.log(np.array([[0.5, 0.5, 1e-320], [1.0, 1e-320, 1e-320]]))
MASKED = np.where(SURE < -700, -INF, SURE)
SOFT = np.array([[0.25, 0.75, 0.0], [1.0, 0.0, 0.0]])
ZERO = np.array([1.0, 1.0, 0.0])
LAST = np.array([0, 2])


def entropy(logits, targets):
    return nn.cross_entropy(logits, targets, reduction="none")


NOTHING_TIMES_INFINITY = {
    "kl_div": (lambda x, y: nn.kl_div(x, y, reduction="none"), MASKED, SOFT, -SOFT),
    "kl_div, logarithms": (
        lambda x, y: nn.kl_div(x, y, log_target=True, reduction="none"),
        MASKED, np.log(SOFT, where=SOFT > 0, out=np.full(SOFT.shape, -INF)), -SOFT,
    ),
    "soft targets": (entropy, MASKED, SOFT, np.exp(MASKED) - SOFT),
    "class weight": (
        lambda x, y: nn.nll_loss(x, y, weight=ZERO, reduction="none"),
        MASKED, LAST, np.array([[-1.0, 0, 0], [0, 0, 0]]),
    ),
    "soft targets, class weight": (
        lambda x, y: nn.cross_entropy(x, y, weight=ZERO, reduction="none"),
        MASKED, np.array([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5]]),
        np.array([[0.5, -0.5, 0.0], [0.0, 0.0, 0.0]]),
    ),
    "binary": (
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, reduction="none"),
        np.array([INF, -INF, 0.0]), np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, -0.5]),
    ),
    "binary, positive weight": (
        lambda x, y: nn.binary_cross_entropy_with_logits(x, y, pos_weight=2.0, reduction="none"),
        np.array([INF, -INF, 0.0]), np.array([1.0, 0.0, 1.0]), np.array([0.0, 0.0, -1.0]),
    ),
    "binary, weight": (
        lambda x, y: nn.binary_cross_entropy_with_logits(
            x, y, weight=np.array([0.0, 0.0, 1.0]), reduction="none"
        ),
        np.array([INF, -INF, 0.0]), np.array([0.0, 1.0, 1.0]), np.array([0.0, 0.0, -0.5]),
    ),
}  # fmt: skip
"""Loss, its arguments, and the gradient by the first: no weight, however wrong, moves nothing."""


@pytest.mark.parametrize("case", NOTHING_TIMES_INFINITY)
def test_nothing_times_infinity_is_nothing(case):
    loss, x, y, slope = NOTHING_TIMES_INFINITY[case]
    with np.errstate(all="ignore"):
        value, gradient = ours(loss, x, y)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(gradient, slope, rtol=1e-12, atol=1e-14)


def test_divergences_are_those_of_scipy():
    special = pytest.importorskip("scipy.special")
    p = np.array([0.0, 0.0, 0.5, 0.5, 1.0])
    q = np.array([0.0, 0.5, 0.0, 0.25, 1.0])
    with np.errstate(all="ignore"):
        expected = special.rel_entr(p, q)
        for target, logarithms in ((p, False), (np.log(p), True)):
            got, _ = ours(
                lambda x, y, log=logarithms: nn.kl_div(x, y, log_target=log, reduction="none"),
                np.log(q), target,
            )  # fmt: skip
            np.testing.assert_allclose(got, expected, rtol=1e-15)


def test_labels_that_are_no_class_are_missed():
    logits = np.array([[0.0, 0.0, 9.0], [1.0, 2.0, 3.0], [np.inf, 0.0, 1.0], [5.0, 1.0, 0.0]])
    labels = np.array([-1, -100, 3, 0])
    assert score(nn.top_k_accuracy, logits, labels, k=3) == 0.25
    assert score(nn.accuracy, logits, labels) == 0.25


def test_a_sure_logit_that_is_wrong():
    for logit, target in ((np.inf, 0.0), (-np.inf, 1.0)):
        value, slope = ours(
            lambda x, y: nn.binary_cross_entropy_with_logits(x, y, reduction="none"),
            np.array([logit]), np.array([target]),
        )  # fmt: skip
        assert value[0] == np.inf
        assert slope[0] == np.sign(logit)
