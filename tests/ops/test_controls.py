"""The harness catches what it is for: a wrong rule of each kind makes its check fail."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

from graphc.errors import VerificationError
from graphc.ir.op import ENTRIES, OPS
from graphc.ir.tensor import FUNCTIONS
from graphc.kernel.value import select
from graphc.ops.activation import Relu
from graphc.ops.arithmetic import Add, Square, Subtract
from graphc.ops.comparison import Less, Where
from graphc.ops.elementwise import Math
from graphc.ops.exponential import Exp
from graphc.ops.trigonometric import Atan2, Sin, cos
from graphc.types import BOOL, FLOAT32, FLOAT64
from tests.ops import test_registry as registry
from tests.ops.harness import (
    Trial,
    check_batch,
    check_derivatives,
    check_special,
    check_text,
    check_type,
    check_value,
    try_all,
)
from tests.ops.test_compiled import compare_together


def fresh(name, number=0, dtype=FLOAT64):
    """Return a trial of its own: those of the suite keep what they have computed."""
    entry = ENTRIES[name]
    return Trial(entry, number, list(entry.samples())[number], dtype)


def fails(check, *args, match):
    with pytest.raises(AssertionError, match=match) as caught:
        check(fresh(*args))
    assert str(caught.value).startswith(f"{args[0]}(")
    assert "[sample" in str(caught.value)


def test_wrong_sign_in_a_derivative(monkeypatch):
    monkeypatch.setattr(Sin, "partials", lambda self, out, x: (-cos(x),))
    fails(check_derivatives, "sin", match=r"VJP gives .* finite differences")


def test_wrong_operand_is_named(monkeypatch):
    right = Atan2.partials
    monkeypatch.setattr(Atan2, "partials", lambda self, out, y, x: (right(self, out, y, x)[0], y))
    with pytest.raises(AssertionError) as caught:
        check_derivatives(fresh("atan2"))
    by_y, by_x = str(caught.value).splitlines()[1:]
    number = r"(-?\d+\.\d+), finite differences (-?\d+\.\d+)"
    (right_rate, rate), (wrong_rate, other) = re.findall(number, f"{by_y}\n{by_x}")
    assert by_y.strip().startswith("by x0")
    assert float(right_rate) == pytest.approx(float(rate))
    assert by_x.strip().startswith("by x1")
    assert float(wrong_rate) != pytest.approx(float(other))


def test_missing_derivative(monkeypatch):
    monkeypatch.setattr(Exp, "partials", lambda self, out, x: (None,))
    fails(check_derivatives, "exp", match="VJP gives 0.0")


def test_reverse_mode_alone_is_wrong(monkeypatch):
    monkeypatch.setattr(Subtract, "vjp", lambda self, g, out, x, y: (g, g))
    fails(check_derivatives, "subtract", match="VJP and JVP disagree")


def test_forward_mode_alone_is_wrong(monkeypatch):
    monkeypatch.setattr(Subtract, "jvp", lambda self, ts, out, x, y: ts[0])
    fails(check_derivatives, "subtract", match="VJP and JVP disagree")


def test_only_the_second_derivative_is_wrong(monkeypatch):
    monkeypatch.setattr(Exp, "partials", lambda self, out, x: (FUNCTIONS["stop_gradient"](out),))
    fails(check_derivatives, "exp", match="second derivative gives 0.0")


def test_derivative_of_another_shape(monkeypatch):
    monkeypatch.setattr(Add, "vjp", lambda self, g, out, x, y: (g, g))
    fails(check_derivatives, "add", 1, match="VJP of type")


def test_wrong_scalar_text(monkeypatch):
    monkeypatch.setattr(Subtract, "formula", lambda x, y: y - x)
    fails(check_text, "subtract", match="scalar text of subtract")


def test_scalar_text_of_another_type(monkeypatch):
    monkeypatch.setattr(Square, "scalar", lambda self, lit, x: x > 1)
    fails(check_text, "square", match="gives bool")
    wide = np.dtype(np.float64)
    monkeypatch.setattr(Square, "scalar", lambda self, lit, x: x.cast(wide) * x.cast(wide))
    check_text(fresh("square"))
    fails(check_text, "square", 0, FLOAT32, match="gives float64, not float32")


def test_wrong_type_rule(monkeypatch):
    monkeypatch.setattr(Less, "result_dtype", lambda self, a, b: a)
    fails(check_type, "less", match="inferred float64, NumPy gives bool")


def test_type_rule_that_forgets_broadcasting(monkeypatch):
    monkeypatch.setattr(Add, "infer", lambda self, x, y: y)
    fails(check_type, "add", 1, match=r"inferred shape \(4,\), NumPy's is \(3, 4\)")


def test_type_rule_against_the_oracle(monkeypatch):
    monkeypatch.setattr(Math, "numpy", lambda self, *a: np.equal(*a) if self == Less() else a[0])
    monkeypatch.setattr(Less, "result_dtype", lambda self, a, b: BOOL if a == FLOAT32 else a)
    with pytest.raises(VerificationError, match="less: its NumPy reference gave bool"):
        check_value(fresh("less"))


def test_wrong_oracle(monkeypatch):
    monkeypatch.setattr(Exp, "ufunc", np.expm1)
    fails(check_value, "exp", match="got .* expected")
    fails(check_value, "exp", 0, FLOAT32, match="got .* expected")


def test_nan_is_lost(monkeypatch):
    monkeypatch.setattr(Relu, "numpy", lambda self, x: np.where(x > 0, x, 0))
    check_value(fresh("relu"))
    fails(check_special, "relu", match="with NaN and infinities")


def test_batch_is_taken_for_a_number(monkeypatch):
    monkeypatch.setattr(Where, "numpy", lambda self, p, x, y: np.where(p, x, y)[:3])
    check_value(fresh("where"))
    with pytest.raises((AssertionError, VerificationError)):
        check_batch(fresh("where"))


def test_every_failure_is_reported():
    def check(trial):
        if trial.number != 1:
            raise AssertionError(f"{trial} is wrong")

    with pytest.raises(AssertionError, match=r"2 of 3 samples:\n.*sample 0.*\n.*sample 2"):
        try_all(check, [fresh("exp", n) for n in range(3)])


def test_wrong_text_is_caught_when_compiled(monkeypatch):
    compare_together([fresh("subtract")])
    monkeypatch.setattr(Subtract, "formula", lambda x, y: y - x)
    with pytest.raises(AssertionError, match=r"subtract\(.*\[sample 0\]: got .* expected"):
        compare_together([fresh("subtract")])


def test_nan_lost_by_the_text_is_caught_when_compiled(monkeypatch):
    monkeypatch.setattr(Relu, "scalar", lambda self, lit, x: select(x > 0, x, lit(0)))
    with pytest.raises(AssertionError, match=r"relu\(.*with NaN and infinities"):
        compare_together([fresh("relu")])


def test_an_op_that_no_sample_reaches_is_reported(monkeypatch):
    monkeypatch.setitem(OPS, "orphan", type("Orphan", (Exp,), {"__doc__": "Unused."}))
    with pytest.raises(AssertionError, match=r"no sample of any function reaches .*orphan"):
        registry.test_every_op_is_reached()


def test_an_undocumented_function_is_reported(monkeypatch):
    bare = dataclasses.replace(ENTRIES["exp"], function=lambda x: x)
    monkeypatch.setitem(ENTRIES, "exp", bare)
    with pytest.raises(AssertionError, match="exp has no docstring"):
        registry.test_entry_is_complete("exp")
