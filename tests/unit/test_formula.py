"""Formulas of tensors, as text and LaTeX."""

import numpy as np
import pytest

import graphc as gx
from graphc.ir.formula import formula


@pytest.fixture
def net():
    x = gx.input("x", (3,), "float64")
    w1, b1 = gx.parameter(np.ones((3, 4)), name="W1"), gx.parameter(np.ones(4), name="b1")
    wo, bo = gx.parameter(np.ones(4), name="wo"), gx.parameter(0.5, name="bo")
    return x, w1, wo @ gx.relu(w1.T @ x + b1) + bo


def test_composite_formula(net):
    _, _, o = net
    assert formula(o) == "wo^T relu(W1^T x + b1) + bo"
    assert formula(o, "latex") == (
        r"w_{o}^{\top} \operatorname{relu}\left(W_{1}^{\top} x + b_{1}\right) + b_{o}"
    )


def test_shared_steps_stand_once(net):
    _, _, o = net
    assert formula(o * o + gx.exp(o)).splitlines() == [
        "t1 = wo^T relu(W1^T x + b1) + bo",
        "t1 * t1 + exp(t1)",
    ]
    y = o
    for _ in range(200):  # 2 ** 200 paths
        y = y * y
    assert len(formula(y).splitlines()) == 201


@pytest.mark.parametrize(
    ("build", "text", "latex"),
    [
        (lambda a, b: a - (b - a), "a - (b - a)", r"a - \left(b - a\right)"),
        (lambda a, b: a - b - a, "a - b - a", "a - b - a"),
        (lambda a, b: (a + b) * b, "(a + b) * b", r"\left(a + b\right) \cdot b"),
        (lambda a, b: a / (b * a), "a / (b * a)", r"\frac{a}{b \cdot a}"),
        (lambda a, b: a / b / a, "a / b / a", r"\frac{\frac{a}{b}}{a}"),
        (lambda a, b: -(a + b), "-(a + b)", r"-\left(a + b\right)"),
        (lambda a, b: a * -b, "a * (-b)", r"a \cdot \left(-b\right)"),
        (lambda a, b: (a + b) ** 2, "(a + b)^2", r"\left(a + b\right)^{2}"),
        (lambda a, b: a**b, "a^b", "a^{b}"),
        (lambda a, b: a ** (b + 1), "a^(b + 1)", "a^{b + 1}"),
        (lambda a, b: abs(a - b), "|a - b|", r"\left|a - b\right|"),
        (lambda a, b: a * -0.5, "a * (-0.5)", r"a \cdot \left(-0.5\right)"),
        (lambda a, b: gx.astype(a, "float32") + 1, "a + 1", "a + 1"),
    ],
)
def test_parentheses_where_they_are_needed(build, text, latex):
    a, b = gx.input("a", (), "float64"), gx.input("b", (), "float64")
    assert formula(build(a, b)) == text
    assert formula(build(a, b), "latex") == latex


def test_matrices():
    a, b = gx.input("A", (2, 3)), gx.input("B", (3, 4))
    assert formula((a @ b) * 2) == "A B * 2"
    assert formula(a @ (b * 2)) == "A (B * 2)"
    assert formula((a + 1) @ b.T.T) == "(A + 1) B^T^T"
    assert formula(b * b, "latex") == r"B \odot B"


def test_names_in_latex():
    x = gx.input("x_hat 100%", (), "float64")
    assert formula(x, "latex") == r"\mathrm{x\_hat 100\%}"
    assert formula(gx.log_sigmoid(x), "latex").startswith(r"\operatorname{log\_sigmoid}")


def test_unknown_format():
    with pytest.raises(ValueError, match="text, latex"):
        formula(gx.constant(1.0), "html")
