"""What another library calls it: every error names what to use here."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim, synonyms
from graphc.ir.tensor import FUNCTIONS

X = gx.input("x", (None, 3))
HERE = r"(.|\n)*test_hints.py"


@pytest.mark.parametrize(
    ("call", "use"),
    [
        (lambda: np.exp(X), "np.exp computes with numbers.*use gx.exp"),
        (lambda: np.arctan2(X, 1.0), "use gx.atan2"),
        (lambda: np.sum(X), "np.sum.*use gx.sum"),
        (lambda: np.concatenate([X, X]), "np.concatenate.*use gx.concat"),
        (lambda: np.add.reduce(X), "use gx.add"),
        (lambda: np.linalg.svd(X), "np.svd.*graphc has no function of that name"),
        (lambda: np.asarray(X), "compile it with gx.function"),
        (lambda: float(X), "gx.astype for int"),
        (lambda: int(X), "compile it with gx.function"),
        (lambda: complex(X), "compile it with gx.function"),
        (lambda: math.exp(X), "gx.exp for math.exp"),
        (lambda: range(X), "known before it runs"),
        (lambda: 3 in X, r"use gx.any\(x == value\)"),
        (lambda: bool(X), "use gx.where"),
        (lambda: optim.Adam(learning_rate=0.1), "did you mean lr"),
        (lambda: optim.SGD(0.1, momentun=0.9), "did you mean momentum"),
    ],
)
def test_what_a_tensor_cannot_do_says_what_to_do(call, use):
    with pytest.raises(TypeError, match=use + HERE):
        call()


@pytest.mark.parametrize(
    ("name", "use"),
    [("numpy", "gx.function"), ("detach", "gx.stop_gradient"), ("view", "gx.reshape"),
     ("backward", "gx.grad"), ("transpose", "gx.permute_dims"), ("reshap", "x.reshape"),
     ("exp", "gx.exp")],
)  # fmt: skip
def test_attributes_of_a_tensor(name, use):
    with pytest.raises(AttributeError, match=use + HERE):
        getattr(X, name)
    assert not hasattr(X, name)


@pytest.mark.parametrize(
    ("module", "name", "use"),
    [
        (gx, "concatenate", "use gx.concat"), (gx, "tensor", "gx.constant, gx.input"),
        (gx, "Linear", "nn.Linear"), (gx, "Adam", "optim.Adam"), (gx, "sofmax", "gx.softmax"),
        (nn, "Dense", "nn.Linear"), (nn, "CrossEntropyLoss", "nn.cross_entropy"),
        (nn, "linear", "nn.Linear"), (optim, "Adamw", "optim.Adam"),
    ],
)  # fmt: skip
def test_names_of_other_libraries(module, name, use):
    with pytest.raises(AttributeError, match=use):
        getattr(module, name)
    assert not hasattr(module, name)


def test_what_is_advised_exists():
    for own in synonyms.NUMPY.values():
        assert own in FUNCTIONS, own
    for name, use in synonyms.OTHERS.items():
        first = use.split(",")[0].split(" ")[0]
        module, _, attribute = first.partition(".")
        found = {"gx": gx, "nn": nn, "optim": optim}[module]
        for part in attribute.split("."):
            found = getattr(found, part)
        assert name not in gx.__all__, name


def test_arrays_on_the_left_of_an_operator():
    x = gx.input("x", (2, 3))
    array = np.arange(6.0, dtype="float32").reshape(2, 3)
    for made, wanted in [
        (array + x, array + array), (array - x, array * 0), (array * x, array * array),
        (array >= x, np.ones((2, 3), bool)), (np.float32(2) * x, array * 2),
        (array @ x.T, array @ array.T), (array**x, array**array),
    ]:  # fmt: skip
        np.testing.assert_allclose(gx.function(x, made)(array), wanted, rtol=1e-6)
    with pytest.raises(TypeError, match=r"use gx\.add"):
        array += x


class Loader:
    """As PyTorch's: an iterable of pairs, with a length."""

    def __iter__(self):
        yield np.ones((2, 3)), np.ones((2, 1))

    def __len__(self):
        return 1


@pytest.mark.parametrize("given", [Loader, lambda: iter(Loader()), lambda: (b for b in Loader())])
def test_iterables_of_batches(given):
    out, y = nn.Linear(3, 1)(X), gx.input("y", (None, 1))
    model = gx.Model(inputs=X, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.SGD(0.1))  # fmt: skip
    for call in (model.fit, model.evaluate, model.predict):
        with pytest.raises(TypeError, match="for xb, yb in batches: model.train_step" + HERE):
            call(given())


def test_pictures_without_graphviz(run_python):
    """A module that failed to load fails again in the same words: no half of it stays behind."""
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'pygraphviz': raise ImportError('there is none')\n"
        "sys.meta_path.insert(0, Block())\n"
        "import graphc as gx\n"
        "for _ in range(3):\n"
        "    try: gx.visualize(gx.exp(gx.input('x', (3,))), 'x.svg')\n"
        "    except ImportError as error: print(error)\n"
    )
    lines = run_python(script).splitlines()
    assert len(lines) == 3
    assert len(set(lines)) == 1
    assert "pip install pygraphviz" in lines[0]
