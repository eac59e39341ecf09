"""Copies of models and functions: of the same values, and independent ever after."""

import copy
import multiprocessing
import pickle

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

RNG = np.random.default_rng(0)
X, LABELS = RNG.random((12, 4)).astype("float32"), RNG.integers(0, 3, 12)
COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda thing: pickle.loads(pickle.dumps(thing))}


def trained(depth=1):
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), dtype="int64")
    layers = [part for _ in range(depth) for part in (nn.Linear(4, 4), nn.Tanh())]
    logits = nn.Sequential(*layers, nn.Dropout(0.2), nn.Linear(4, 3))(x + np.arange(4.0))
    model = gx.Model(inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
                     metrics={"accuracy": nn.accuracy(logits, y)},
                     optimizer=optim.Adam(1e-2))  # fmt: skip
    for _ in range(3):
        model.train_step(X, LABELS)
    return model


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_model_trains_on_with_the_same_bits(way):
    model = trained()
    model.optimizer.lr = 0.005
    twin = COPIES[way](model)
    before = {name: values.copy() for name, values in model.parameters.items()}
    steps = [twin.train_step(X, LABELS) for _ in range(3)]
    for name, values in model.parameters.items():
        np.testing.assert_array_equal(values, before[name])
    assert steps == [model.train_step(X, LABELS) for _ in range(3)]
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    assert twin.evaluate(X, LABELS) == model.evaluate(X, LABELS)
    assert twin.optimizer.lr == 0.005
    assert twin.source == model.source


@pytest.mark.parametrize("way", COPIES)
def test_depth_is_no_limit(way):
    x = gx.input("x", (3,))
    y = x
    for _ in range(3000):
        y = gx.sin(y) + 0.1
    twin = COPIES[way](gx.Graph([x], {"y": y}))
    assert len(twin) == len(gx.Graph([x], {"y": y}))


@pytest.mark.parametrize("way", COPIES)
def test_a_copied_function_has_its_own_parameters(way):
    x, total = gx.input("x", (2,)), gx.parameter(np.zeros(2), name="total", trainable=False)
    add = gx.function(x, {"total": total + x}, updates={total: total + x})
    add([1.0, 2.0])
    twin = COPIES[way](add)
    assert twin([1.0, 2.0])["total"].tolist() == [2.0, 4.0]
    assert add([1.0, 2.0])["total"].tolist() == [2.0, 4.0]


def _step(model, queue):
    queue.put((model.train_step(X, LABELS), model.predict(X)))


def test_a_model_goes_to_a_process_of_its_own():
    model, context = trained(), multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=_step, args=(model, queue))
    process.start()
    loss, predicted = queue.get(timeout=600)
    process.join()
    assert loss == model.train_step(X, LABELS)
    np.testing.assert_array_equal(predicted, model.predict(X))


def test_a_shallow_copy_shares_the_parameters():
    model = trained()
    twin = copy.copy(model)
    twin.train_step(X, LABELS)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
