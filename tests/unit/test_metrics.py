"""Metrics against scikit-learn: of one batch, and of all rows whatever the batches."""

import warnings

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.ir.interpret import evaluate

metrics = pytest.importorskip("sklearn.metrics")

RNG = np.random.default_rng(5)
ROWS = 41
SCORES = RNG.standard_normal((ROWS, 4)).astype("float32")
LABELS = RNG.integers(0, 3, ROWS)  # class 3 is found but never labelled
SAID = SCORES.argmax(1)
YES = (RNG.random(ROWS) < 0.3).astype("int64")
NUMBERS = (RNG.standard_normal((ROWS, 3)) + 100).astype("float32")
GUESSES = (NUMBERS + 0.5 * RNG.standard_normal((ROWS, 3))).astype("float32")

COUNTED = {
    "precision": metrics.precision_score,
    "recall": metrics.recall_score,
    "f1_score": metrics.f1_score,
    "iou": metrics.jaccard_score,
}


def value(metric, a, b, **options):
    x = gx.input("x", (None, *a.shape[1:]), dtype=a.dtype)
    y = gx.input("y", (None, *b.shape[1:]), dtype=b.dtype)
    result = metric(x, y, **options)
    return evaluate([result], {x: a, y: b})[result]


def reference(score, *arrays, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of classes that nothing is said to be
        return score(*arrays, **options)


@pytest.mark.parametrize("average", ["macro", "micro", "weighted", None])
@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_classes(name, average):
    metric, score = getattr(nn, name), COUNTED[name]
    expected = reference(score, LABELS, SAID, average=average)
    np.testing.assert_allclose(value(metric, SCORES, LABELS, average=average), expected, rtol=1e-15)
    hot = np.eye(4, dtype="float32")[LABELS]
    np.testing.assert_allclose(value(metric, SCORES, hot, average=average), expected, rtol=1e-15)
    kept = LABELS != 1
    expected = reference(score, LABELS[kept], SAID[kept], average=average, labels=range(4))
    if average != "macro":  # there scikit-learn counts the classes that it is told of
        got = value(metric, SCORES, LABELS, average=average, ignore_index=1)
        np.testing.assert_allclose(got, expected, rtol=1e-15)


@pytest.mark.parametrize("name", COUNTED)
def test_counts_of_two_classes(name):
    metric, score = getattr(nn, name), COUNTED[name]
    one, two = SCORES[:, 0], SCORES[:, :2]
    for logits, said in ((one, one > 0), (one[:, None], one > 0), (two, two.argmax(1))):
        got = value(metric, logits, YES, average="binary")
        np.testing.assert_allclose(got, score(YES, said), rtol=1e-15)
    nobody = np.zeros(ROWS, "int64")
    assert value(metric, np.full(ROWS, -1.0), nobody, average="binary") == 0.0


def test_images_count_each_place():
    scores, labels = RNG.standard_normal((3, 4, 5, 3)), RNG.integers(0, 3, (3, 4, 5))
    expected = metrics.jaccard_score(labels.ravel(), scores.argmax(-1).ravel(), average="macro")
    np.testing.assert_allclose(value(nn.iou, scores, labels), expected, rtol=1e-15)


def test_confusion_matrix():
    expected = metrics.confusion_matrix(LABELS, SAID, labels=range(4))
    np.testing.assert_array_equal(value(nn.confusion_matrix, SCORES, LABELS), expected)
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
    f = gx.function([x, y], nn.confusion_matrix(x, y))
    np.testing.assert_array_equal(f(SCORES, LABELS), expected)


def test_numbers():
    for a, b in ((GUESSES, NUMBERS), (GUESSES[:, 0], NUMBERS[:, 0])):
        expected = metrics.r2_score(b.astype("float64"), a.astype("float64"))
        np.testing.assert_allclose(value(nn.r2_score, a, b), expected, rtol=1e-10)
        expected = metrics.mean_absolute_error(b.astype("float64"), a.astype("float64"))
        np.testing.assert_allclose(value(nn.mae, a, b), expected, rtol=1e-14)
        flat = (b.astype("float64").ravel(), a.astype("float64").ravel())
        expected = np.sqrt(metrics.mean_squared_error(*flat))
        np.testing.assert_allclose(value(nn.rmse, a, b), expected, rtol=1e-14)
    same = np.full((7, 2), 1e3 / 3)
    same_guess = same + np.array([0.0, 1.0])
    for guess in (same, same_guess):
        assert value(nn.r2_score, guess, same) == metrics.r2_score(same, guess)


def test_perplexity():
    logits = SCORES.astype("float64")
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = np.exp(metrics.log_loss(LABELS, shares, labels=range(4)))
    np.testing.assert_allclose(value(nn.perplexity, logits, LABELS), expected, rtol=1e-12)
    kept = LABELS != 0
    expected = np.exp(metrics.log_loss(LABELS[kept], shares[kept], labels=range(4)))
    got = value(nn.perplexity, logits, LABELS, ignore_index=0)
    np.testing.assert_allclose(got, expected, rtol=1e-12)


def test_shares_leave_out_labels_to_ignore():
    kept = LABELS != 2
    for name, score, options in (
        ("accuracy", metrics.accuracy_score, {}),
        ("top_k_accuracy", metrics.top_k_accuracy_score, {"k": 2}),
    ):
        metric = getattr(nn, name)
        guess = SAID if name == "accuracy" else SCORES
        own = {} if name == "accuracy" else {"k": 2, "labels": range(4)}
        expected = score(LABELS[kept], guess[kept], **own)
        got = value(metric, SCORES, LABELS, ignore_index=2, **options)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, rtol=1e-7)
        behind = np.where(kept, LABELS, -100)
        np.testing.assert_array_equal(
            value(metric, SCORES, behind, ignore_index=-100, **options), got
        )
        assert value(metric, SCORES, np.full(ROWS, -100), ignore_index=-100, **options) == 0
    two = value(nn.accuracy, SCORES[:, 0], np.where(kept, YES, -1), ignore_index=-1)
    expected = metrics.accuracy_score(YES[kept], SCORES[kept, 0] > 0)
    np.testing.assert_allclose(two, expected, rtol=1e-7)
    with pytest.raises(TypeError, match="ignore_index is for integer labels"):
        value(nn.accuracy, SCORES, SCORES, ignore_index=2)


def model(kind):
    """Return a model that passes its input on, and one epoch of which changes nothing."""
    if kind == "classes":
        x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
        out = nn.Linear(4, 4, bias=False)(x)
        scores = {name: getattr(nn, name)(out, y, average="macro") for name in COUNTED}
        scores |= {
            "top": nn.top_k_accuracy(out, y, k=2),
            "kept": nn.accuracy(out, y, ignore_index=1),
            "perplexity": nn.perplexity(out, y),
        }
        loss, start = nn.cross_entropy(out, y), np.eye(4)
    else:
        x, y = gx.input("x", (None, 3)), gx.input("y", (None, 3))
        out = nn.Linear(3, 3, bias=False)(x)
        scores = {name: getattr(nn, name)(out, y) for name in ("r2_score", "mae", "rmse")}
        loss, start = nn.mse_loss(out, y), np.eye(3)
    made = gx.Model(inputs=x, outputs=out, targets=y, loss=loss, metrics=scores,
                    optimizer=optim.SGD(0.0))  # fmt: skip
    next(iter(made.parameters.values()))[...] = start
    return made


@pytest.mark.parametrize("batch", [1, 7, 41])
def test_evaluate_and_history_are_of_all_rows(batch):
    made = model("classes")
    expected = {n: reference(s, LABELS, SAID, average="macro") for n, s in COUNTED.items()}
    expected["top"] = metrics.top_k_accuracy_score(LABELS, SCORES, k=2, labels=range(4))
    expected["kept"] = metrics.accuracy_score(LABELS[LABELS != 1], SAID[LABELS != 1])
    expected["perplexity"] = value(nn.perplexity, SCORES.astype("float64"), LABELS)
    numbers = model("numbers")
    wanted = {
        "r2_score": metrics.r2_score(NUMBERS.astype("float64"), GUESSES.astype("float64")),
        "mae": value(nn.mae, GUESSES, NUMBERS),
        "rmse": value(nn.rmse, GUESSES, NUMBERS),
    }
    for m, given, truth, scores in ((made, SCORES, LABELS, expected),
                                    (numbers, GUESSES, NUMBERS, wanted)):  # fmt: skip
        found = m.evaluate(given, truth, batch_size=batch)
        history = m.fit(given, truth, epochs=1, batch_size=batch, verbose=0)
        for name, score in scores.items():
            np.testing.assert_allclose(found[name], score, rtol=2e-6, err_msg=name)
            np.testing.assert_allclose(history[name][0], score, rtol=2e-6, err_msg=name)


def test_errors_say_what_to_do():
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
    for wrong, hint in (
        (lambda: nn.precision(x, y), 'take "macro"'),
        (lambda: nn.recall(x, y, average="mean"), "average must be"),
        (lambda: nn.iou(x, x[:, :2]), "do not fit"),
        (lambda: nn.mae(x, y), "one shape"),
    ):
        with pytest.raises(ValueError, match=hint) as error:
            wrong()
        assert "test_metrics.py:" in str(error.value)
