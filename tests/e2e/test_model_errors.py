"""What is wrong with a model or its data is said at the user's line."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

X, Y = np.ones((8, 5), "float32"), np.ones((8, 3), "float32")


def parts():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None, 3))
    out = nn.Linear(5, 3)(x)
    return {"inputs": x, "outputs": out, "targets": y, "loss": nn.mse_loss(out, y),
            "optimizer": optim.SGD(0.1)}  # fmt: skip


@pytest.fixture(scope="module")
def model():
    return gx.Model(**parts())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"loss": 3.0}, "loss must be a Tensor, not float"),
        ({"loss": "rows"}, r"loss must be a scalar, got .*reduce it with mean or sum"),
        ({"loss": "integer"}, "loss must be floating-point, got .*int64"),
        ({"metrics": [1]}, "metrics must be a dict"),
        ({"metrics": {"rows": "rows"}}, "metric 'rows' must be a scalar"),
        ({"metrics": {"loss": "loss"}}, "a metric cannot be called 'loss'"),
        ({"metrics": {"val_a": "loss"}}, "a metric cannot be called 'val_a'"),
        ({"optimizer": "adam"}, "optimizer must be one of graphc.optim.*'adam'"),
        ({"optimizer": optim.Adam}, "optimizer must be one of graphc.optim"),
        ({"outputs": []}, "no outputs"),
        ({"outputs": [1]}, "outputs must be Tensors"),
        ({"inputs": "rows"}, "is not an input; declare inputs with gx.input"),
        ({"inputs": None}, "input x.* is needed but is not among the inputs"),
        ({"targets": None}, "input y.* is needed but is not among the inputs"),
        ({"targets": "x"}, "x: .* stands twice among inputs and targets"),
        ({"seed": -1}, "seed must be at least 0"),
    ],
)
def test_a_wrong_declaration(change, message):
    known = parts()
    symbols = {"rows": known["outputs"], "x": known["inputs"], "loss": known["loss"],
               "integer": gx.astype(known["loss"], "int64")}  # fmt: skip

    def resolve(value):
        if isinstance(value, dict):
            return {k: resolve(v) for k, v in value.items()}
        return symbols.get(value, value) if isinstance(value, str) else value

    with pytest.raises((ValueError, TypeError), match=message):
        gx.Model(**{**known, **{k: resolve(v) for k, v in change.items()}})


def test_parameters_that_the_loss_does_not_reach_are_all_named():
    known = parts()
    aside = nn.Linear(5, 2)(known["inputs"])
    with pytest.raises(ValueError, match="does not depend on these") as caught:
        gx.Model(**{**known, "outputs": [known["outputs"], aside]})
    text = str(caught.value)
    assert "linear_1.weight: float32(5, 2)" in text
    assert "linear_1.bias" in text
    assert "linear_0" not in text
    assert "test_model_errors.py" in text
    assert "trainable=False" in text


def test_an_optimizer_with_nothing_to_do():
    x = gx.input("x", (None, 5))
    with pytest.raises(ValueError, match="no trainable parameter"):
        gx.Model(inputs=x, outputs=x, loss=gx.mean(x), optimizer=optim.SGD(0.1))


@pytest.mark.parametrize("call", ["train_step", "forward", "gradients", "evaluate", "fit"])
def test_wrong_data_are_named_with_both_shapes_and_the_line(model, call):
    with pytest.raises(ValueError, match=r"input 'x' has shape \(None, 5\), .* \(8, 4\)") as caught:
        getattr(model, call)(X[:, :4], Y)
    assert "test_model_errors.py:" in str(caught.value)
    with pytest.raises(ValueError, match="input 'x' has 8 rows but target 'y' has 7"):
        getattr(model, call)(X, Y[:7])
    with pytest.raises(ValueError, match="no value for the target 'y'"):
        getattr(model, call)(X)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"batch_size": 1.5}, "batch_size must be an integer"),
        ({"epochs": -1}, "epochs must be at least 0"),
        ({"validation_data": X}, r"validation_data must be a pair \(X, Y\), not ndarray"),
        ({"validation_data": (X[:0], Y[:0])}, "the validation data have no rows"),
        ({"validation_split": 1.0}, "validation_split must be between 0 and 1"),
        ({"validation_split": 0.01}, "leaves no validation rows of 8"),
        ({"validation_split": 0.5, "validation_data": (X, Y)}, "not both"),
        ({"callbacks": [3]}, "neither a Callback nor a function"),
    ],
)
def test_wrong_options_of_fit(model, options, message):
    before = model.parameters["linear_0.weight"].copy()
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, Y, verbose=0, **options)
    np.testing.assert_array_equal(model.parameters["linear_0.weight"], before)


def test_no_rows(model):
    with pytest.raises(ValueError, match="fit: the data have no rows"):
        model.fit(X[:0], Y[:0])
    with pytest.raises(ValueError, match="evaluate: the data have no rows"):
        model.evaluate(X[:0], Y[:0])


def test_labels_of_another_kind():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None,), "int64")
    logits = nn.Linear(5, 3)(x)
    model = gx.Model(inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y),
                     optimizer=optim.SGD(0.1))  # fmt: skip
    with pytest.raises(TypeError, match="target 'y' is int64, got values of type float32"):
        model.fit(X, np.zeros(8, "float32"), verbose=0)
    before = model.parameters["linear_0.weight"].copy()
    with pytest.raises(IndexError, match="3"):
        model.fit(X, np.full(8, 3), verbose=0)
    np.testing.assert_array_equal(model.parameters["linear_0.weight"], before)
