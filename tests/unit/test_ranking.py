"""The area under the curve: scikit-learn's, ties and several classes too, of all rows at once."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, ShapeError

RNG = np.random.default_rng(0)


def value(scores, labels, **given):
    s = gx.input("s", (None, *scores.shape[1:]), str(scores.dtype))
    y = gx.input("y", (None,), "int64")
    return gx.function([s, y], nn.roc_auc(s, y, **given))(scores, labels)


def test_two_classes_with_ties():
    labels = RNG.integers(0, 2, 200)
    scores = np.round(RNG.standard_normal(200) + labels, 1)
    wanted = roc_auc_score(labels, scores)
    assert value(scores, labels) == pytest.approx(wanted, rel=1e-12)
    assert value(scores[:, None], labels) == pytest.approx(wanted, rel=1e-12)
    pair = np.stack([-scores, np.zeros(200)], 1)
    assert value(pair, labels) == pytest.approx(wanted, rel=1e-12)
    assert np.isnan(value(scores, np.ones(200, int)))


def test_several_classes():
    labels = RNG.integers(0, 4, 150)
    scores = np.round(RNG.dirichlet(np.ones(4), 150), 2)
    scores /= scores.sum(1, keepdims=True)
    for average in ("macro", "weighted", None):
        wanted = roc_auc_score(labels, scores, average=average, multi_class="ovr")
        np.testing.assert_allclose(value(scores, labels, average=average), wanted, rtol=1e-12)


def test_evaluate_is_of_all_rows():
    x, y = gx.input("x", (None, 3)), gx.input("y", (None,), "int64")
    logit = nn.Linear(3, 1)(x)
    model = gx.Model(inputs=x, outputs=logit, targets=y, optimizer=optim.SGD(0.1),
                     loss=nn.binary_cross_entropy_with_logits(logit[:, 0], gx.astype(y, "float32")),
                     metrics={"auc": nn.roc_auc(logit, y)})  # fmt: skip
    X = RNG.standard_normal((90, 3)).astype("float32")
    t = (X[:, 0] + RNG.standard_normal(90) > 0).astype("int64")
    history = model.fit(X, t, epochs=2, batch_size=30, validation_data=(X, t), verbose=0)
    wanted = roc_auc_score(t, model.predict(X)[:, 0])
    assert model.evaluate(X, t, batch_size=20)["auc"] == pytest.approx(wanted, rel=1e-6)
    assert history["val_auc"][-1] == pytest.approx(wanted, rel=1e-6)


def test_what_cannot_be_says_so():
    with pytest.raises(ArgumentError, match="average must be"):
        nn.roc_auc(gx.input("s", (None, 3)), gx.input("y", (None,), "int64"), average="micro")
    with pytest.raises(ShapeError, match="do not fit together"):
        nn.roc_auc(gx.input("s", (None, 3)), gx.input("y", (None, 3), "int64"))
