"""No integer wraps on its way in: numbers, constants, parameters, what is fed and trained on."""

import operator

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import DTypeError, RangeError

NUMBERS = [2**31, -(2**31) - 1, 2**31 - 1, -(2**31), 2**32, 2**40, 2**63 - 1, 2**63, -(2**63) - 1,
           2**70, 10**400]  # fmt: skip
RELATIONS = [operator.eq, operator.ne, operator.lt, operator.le, operator.gt, operator.ge]
ARITHMETIC = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv,
    "%": operator.mod, "&": operator.and_, "|": operator.or_, "^": operator.xor,
    "maximum": lambda x, y: (np if isinstance(x, np.ndarray) else gx).maximum(x, y),
    "minimum": lambda x, y: (np if isinstance(x, np.ndarray) else gx).minimum(x, y),
    "fmod": lambda x, y: x % y,
}  # fmt: skip


def limits(dtype):
    info = np.iinfo(dtype)
    return np.array([info.min, -1, 0, 1, info.max], dtype)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("number", NUMBERS)
def test_comparisons_are_exact(dtype, number):
    a = limits(dtype)
    x = gx.input("x", (5,), dtype)
    found = gx.function(x, [r(x, number) for r in RELATIONS] + [r(number, x) for r in RELATIONS])(a)
    exact = [[r(int(v), number) for v in a] for r in RELATIONS]
    exact += [[r(number, int(v)) for v in a] for r in RELATIONS]
    np.testing.assert_array_equal(found, exact)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
@pytest.mark.parametrize("name", sorted(ARITHMETIC))
def test_arithmetic_raises_where_numpy_does(name, dtype):
    a, f = limits(dtype), ARITHMETIC[name]
    x = gx.input("x", (5,), dtype)
    for number in NUMBERS:
        inside = np.iinfo(dtype).min <= number <= np.iinfo(dtype).max
        if not inside:
            with pytest.raises(OverflowError):
                f(a, number)
            with pytest.raises(RangeError, match="out of bounds") as caught:
                f(x, number)
            assert f"at {__file__}" in str(caught.value)
            with pytest.raises(RangeError):
                f(number, x)
        else:
            with np.errstate(all="ignore"):
                np.testing.assert_array_equal(gx.function(x, f(x, number))(a), f(a, number))


I32 = gx.input("i", (2,), "int32")
WRAPS = {
    "where": lambda: gx.where(I32 > 0, I32, 2**40),
    "where first": lambda: gx.where(I32 > 0, -(2**31) - 1, I32),
    "clip above": lambda: gx.clip(I32, 2**40, None),
    "clip below": lambda: gx.clip(I32, None, -(2**40)),
    "full": lambda: gx.full((2,), 2**40, dtype="int32"),
    "full of a float": lambda: gx.full((2,), 1e20, dtype="int32"),
    "full_like": lambda: gx.full_like(I32, 2**40),
    "constant": lambda: gx.constant(2**40, "int32"),
    "constant list": lambda: gx.constant([1, 2**31], "int32"),
    "constant array": lambda: gx.constant(np.array([2**40]), "int32"),
    "constant uint32": lambda: gx.constant(np.array([2**31], "uint32"), "int32"),
    "constant uint64": lambda: gx.constant(np.array([2**63], "uint64"), "int64"),
    "constant float": lambda: gx.constant(2.0**31, "int32"),
    "constant float64": lambda: gx.constant(np.array([2.0**63]), "int64"),
    "constant nan": lambda: gx.constant(np.nan, "int64"),
    "constant inf": lambda: gx.constant([0.0, -np.inf], "int32"),
    "asarray": lambda: gx.asarray(2**31, dtype="int32"),
    "natural list": lambda: gx.constant([2**63, 1]),
    "natural": lambda: gx.constant(2**63),
    "arange": lambda: gx.arange(2**31 - 1, 2**31 + 2, dtype="int32"),
    "arange of floats": lambda: gx.arange(2.0**31, 2.0**31 + 2, dtype="int32"),
    "arange beyond int64": lambda: gx.arange(2**63, 2**63 + 2),
    "linspace": lambda: gx.linspace(0, 2**40, 3, dtype="int32"),
    "pad": lambda: gx.pad(I32, 1, constant_values=2**40),
    "stack": lambda: gx.stack([[2**63], [1]]),
    "shift": lambda: I32 << 2**40,
    "pow": lambda: gx.pow(I32, 2**40),
    "take": lambda: gx.take(I32, np.array([2**63], "uint64"), axis=0),
    "parameter": lambda: gx.parameter(np.array([2**40]), dtype="int32"),
    "parameter uint64": lambda: gx.parameter(np.array([2**63], "uint64"), dtype="int64"),
    "parameter of a number": lambda: gx.parameter(2**31, (3,), dtype="int32"),
    "float": lambda: gx.constant(10**400, "float64"),
    "float operand": lambda: gx.input("x") + 10**400,
}


@pytest.mark.parametrize("name", WRAPS)
def test_what_does_not_fit_raises_at_the_users_line(name):
    with pytest.raises(RangeError) as caught:
        WRAPS[name]()
    assert isinstance(caught.value, OverflowError)
    assert f"at {__file__}" in str(caught.value)


def test_an_initialiser_is_checked():
    p = gx.parameter(lambda shape, rng: np.full(shape, 2**40), (2,), name="p", dtype="int32")
    with pytest.raises(RangeError, match="out of bounds for int32"):
        gx.function([], p + 1)()


def test_what_fits_passes():
    i = gx.input("i", (3,), "int32")
    a = np.array([-(2**31), 5, 2**31 - 1], "int32")
    for bounds in ((0, 2**40), (-(2**40), 3), (-(2**70), 2**70), (None, 2**31)):
        np.testing.assert_array_equal(gx.function(i, gx.clip(i, *bounds))(a), np.clip(a, *bounds))
    for number in (-(2**31), 2**31 - 1):
        assert gx.function([], gx.constant(number, "int32"))() == number
        assert gx.function([], gx.constant(float(number), "int32"))() == number
    assert gx.function([], gx.constant(-(2.0**63), "int64"))() == -(2**63)
    assert gx.function([], gx.constant(-1.9, "int32"))() == -1
    assert gx.function([], gx.constant(2**70, "float32"))() == np.float32(2.0**70)


FEEDS = [
    ("int32", np.array([2**40 + 5, 0])), ("int32", np.array([0, -(2**31) - 1])),
    ("int32", [2**31, 0]), ("int32", np.array([2**31, 0], "uint32")),
    ("int64", np.array([2**63, 0], "uint64")),
    ("int64", [2**63, 0]), ("int64", [2**70, 0]), ("int32", np.array([2**63, 1], "uint64")),
]  # fmt: skip


@pytest.mark.parametrize(("dtype", "fed"), FEEDS)
def test_what_functions_and_models_are_fed(dtype, fed):
    x = gx.input("x", (None,), dtype)
    with pytest.raises(RangeError, match=r"input 'x': .*out of bounds") as caught:
        gx.function(x, x + 1)(fed)
    assert f"at {__file__}" in str(caught.value)
    f, w = gx.input("f", (None, 2)), gx.parameter(nn.init.ones, (2,), name="w")
    loss = gx.sum(f @ w) + gx.sum(gx.astype(x, "float32"))
    model = gx.Model(inputs=f, targets=x, outputs=f @ w, loss=loss, optimizer=optim.SGD(0.1))
    rows = np.ones((2, 2), "float32")
    for step in (
        lambda: model.train_step(rows, fed),
        lambda: model.fit(rows, fed, epochs=1, verbose=0),
        lambda: model.evaluate(rows, fed),
    ):
        with pytest.raises(RangeError, match=r"target 'x': .*out of bounds") as caught:
            step()
        assert f"at {__file__}" in str(caught.value)
    np.testing.assert_array_equal(model.parameters["w"], [1, 1])


def test_functions_and_models_refuse_in_the_same_words():
    x = gx.input("x", (None, 2), "int32")
    w = gx.parameter(nn.init.ones, (2,), name="w")
    y = gx.astype(x, "float32") @ w
    model = gx.Model(inputs=x, outputs=y, loss=gx.sum(y), optimizer=optim.SGD(0.1))
    f = gx.function(x, y)
    for fed in (np.ones((2, 2)), np.ones((2, 3), int), np.ones(2, int), [[1, 2], [3]], "a",
                [[2**31, 0]], [[None, 1]], x, np.ones((1, 2), complex)):  # fmt: skip
        said = []
        for call in (f, model.predict):
            with pytest.raises((DTypeError, ValueError, RangeError)) as caught:
                call(fed)
            said.append(str(caught.value).splitlines()[0])
        assert said[0] == said[1], fed
