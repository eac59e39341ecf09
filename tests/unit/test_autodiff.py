"""Derivatives against closed forms and finite differences; structures, conventions, errors."""

import numpy as np
import pytest

import graphc as gx
from graphc.errors import GradientError
from graphc.ir.interpret import evaluate
from graphc.ir.op import Elementwise, register  # noqa: F401
from graphc.ir.tensor import apply
from graphc.ops.trigonometric import Sin


def value(tensor, **feeds):
    """Return the value of ``tensor`` for inputs given by name."""
    from graphc.ir.graph import ancestors

    inputs = {t.name: t for t in ancestors([tensor]) if t.op.name == "input"}
    return evaluate([tensor], {inputs[n]: np.asarray(v, inputs[n].dtype) for n, v in feeds.items()
                               if n in inputs})[tensor]  # fmt: skip


@pytest.fixture
def t():
    return gx.input("t", (), "float64")


@pytest.fixture
def x():
    return gx.input("x", (3,), "float64")


X = np.array([0.3, -0.7, 1.1])


# -- one variable -------------------------------------------------------------------------------


def test_derivatives_of_any_order(t):
    f = gx.sin(t) * gx.exp(t)
    for order in range(1, 7):
        f = gx.grad(f, t)
        closed = 2 ** (order / 2) * np.exp(0.4) * np.sin(0.4 + order * np.pi / 4)
        np.testing.assert_allclose(value(f, t=0.4), closed, rtol=1e-12)


def test_modes_nest_in_any_order(t):
    def reverse(f):
        return gx.grad(f, t)

    def forward(f):
        return gx.jvp(f, t, 1.0)

    f = gx.tanh(t) * t**3
    third = value(reverse(reverse(reverse(f))), t=0.7)
    for a in (reverse, forward):
        for b in (reverse, forward):
            for c in (reverse, forward):
                np.testing.assert_allclose(value(c(b(a(f))), t=0.7), third, rtol=1e-11)


def test_an_operand_twice_is_two_operands(t):
    b = t * t
    c = gx.exp(b) + gx.sin(t) * b
    v = 0.7
    first = 2 * v * np.exp(v**2) + np.cos(v) * v**2 + 2 * v * np.sin(v)
    np.testing.assert_allclose(value(gx.grad(c, t), t=v), first, rtol=1e-14)
    np.testing.assert_allclose(value(gx.jvp(c, t, 1.0), t=v), first, rtol=1e-14)
    assert value(gx.grad(t * t * t * t, t), t=2.0) == 32.0


def test_the_loss_by_itself_is_one(t):
    assert value(gx.grad(t * 2, [t])[0], t=1) == 2
    loss = gx.exp(t)
    assert value(gx.grad(loss, loss), t=1) == 1
    assert value(gx.jvp(t, t, 5.0), t=1) == 5


# -- structures -----------------------------------------------------------------------------------


def test_results_have_the_structure_of_wrt(x, t):
    loss = gx.sum(x * t)
    assert gx.grad(loss, x).shape == (3,)
    result = gx.grad(loss, {"a": x, "b": [t, (x,)]})
    assert set(result) == {"a", "b"}
    assert isinstance(result["b"][1], tuple)
    np.testing.assert_allclose(value(result["b"][0], x=X, t=2.0), X.sum())
    outputs = gx.jvp({"y": x * t, "z": [t]}, [x, t], [X, 1.0])
    np.testing.assert_allclose(value(outputs["y"], x=X, t=2.0), X * 2 + X)
    assert value(outputs["z"][0], t=2.0) == 1.0
    back = gx.vjp({"y": x * t, "z": [t]}, (x, t), {"y": X, "z": [3.0]})
    np.testing.assert_allclose(value(back[1], x=X, t=2.0), X @ X + 3)


def test_vjp_and_jvp_are_transposes(x):
    w = gx.parameter(np.random.default_rng(0).standard_normal((3, 4)), name="w")
    y = gx.tanh(x @ w)
    u, v = np.random.default_rng(1).standard_normal(4), np.random.default_rng(2).standard_normal(3)
    left = value(gx.jvp(y, x, v), x=X) @ u
    np.testing.assert_allclose(left, value(gx.vjp(y, x, u), x=X) @ v, rtol=1e-13)


# -- Jacobians and Hessians -----------------------------------------------------------------------


def test_jacobian_of_both_shapes(x):
    a = np.random.default_rng(0).standard_normal((5, 3))
    wide, high = gx.sum(a[:2] * x, axis=1), gx.sum(a * x, axis=1)
    np.testing.assert_allclose(value(gx.jacobian(gx.sin(wide), x), x=X),
                               np.cos(a[:2] @ X)[:, None] * a[:2])  # fmt: skip
    np.testing.assert_allclose(value(gx.jacobian(gx.sin(high), x), x=X),
                               np.cos(a @ X)[:, None] * a)  # fmt: skip


def test_jacobian_blocks():
    w, b = gx.parameter(np.eye(2, 3), name="w"), gx.parameter(np.zeros(3), name="b")
    x = gx.input("x", (4, 2), "float64")
    v = np.random.default_rng(0).standard_normal((4, 2))
    y = x @ w + b
    blocks = gx.jacobian([y, gx.sum(y)], {"w": w, "b": b, "x": x})
    assert [blocks[0][k].shape for k in ("w", "b", "x")] == [(4, 3, 2, 3), (4, 3, 3), (4, 3, 4, 2)]
    assert [blocks[1][k].shape for k in ("w", "b", "x")] == [(2, 3), (3,), (4, 2)]
    expected = np.einsum("ni,jk->njik", v, np.eye(3))
    np.testing.assert_allclose(value(blocks[0]["w"], x=v), expected)
    np.testing.assert_allclose(value(blocks[1]["b"], x=v), np.full(3, 4.0))


def test_hessian_of_a_quadratic_and_newtons_step(x):
    q = np.random.default_rng(0).standard_normal((3, 3))
    q = q @ q.T + np.eye(3)
    c = np.array([1.0, -2.0, 0.5])
    loss = 0.5 * gx.sum(x * gx.sum(q * x, axis=1)) - gx.sum(c * x)
    h = value(gx.hessian(loss, x), x=X)
    np.testing.assert_allclose(h, q, rtol=1e-12)
    step = X - np.linalg.solve(h, value(gx.grad(loss, x), x=X))
    np.testing.assert_allclose(step, np.linalg.solve(q, c), rtol=1e-10)
    np.testing.assert_allclose(value(gx.hvp(loss, x, X), x=X), q @ X, rtol=1e-12)


def test_hessian_blocks_are_nested_and_symmetric(x, t):
    loss = gx.sum(gx.sin(x) * t**2)
    h = gx.hessian(loss, {"x": x, "t": t})
    assert h["x"]["t"].shape == (3,)
    assert h["x"]["x"].shape == (3, 3)
    assert h["t"]["t"].shape == ()
    np.testing.assert_allclose(value(h["x"]["t"], x=X, t=2.0), 4 * np.cos(X))
    np.testing.assert_allclose(value(h["t"]["x"], x=X, t=2.0), 4 * np.cos(X))
    np.testing.assert_allclose(value(h["x"]["x"], x=X, t=2.0), np.diag(-4 * np.sin(X)))


def test_hvp_is_hessian_times_vector(x):
    w = gx.parameter(np.random.default_rng(3).standard_normal((3, 3)), name="w")
    loss = gx.sum(gx.tanh(x @ w) ** 2)
    v = {"w": np.random.default_rng(4).standard_normal((3, 3)), "x": X[::-1].copy()}
    wrt = {"w": w, "x": x}
    products = gx.hvp(loss, wrt, v)
    h = gx.hessian(loss, wrt)
    for a in wrt:
        expected = sum(np.tensordot(value(h[a][b], x=X), v[b], v[b].ndim) for b in wrt)
        np.testing.assert_allclose(value(products[a], x=X), expected, rtol=1e-10, atol=1e-12)


def test_hessian_of_a_linear_loss_is_zero(x):
    np.testing.assert_array_equal(value(gx.hessian(gx.sum(x * 2.0), x), x=X), np.zeros((3, 3)))
    np.testing.assert_array_equal(value(gx.hvp(gx.sum(x * 2.0), x, X), x=X), np.zeros(3))


def test_sizes_that_depend_on_the_batch_are_refused():
    x = gx.input("x", (None, 2))
    with pytest.raises(ValueError, match="depends on the batch"):
        gx.jacobian(gx.sin(x), x)
    with pytest.raises(ValueError, match="fixed size"):
        gx.hessian(gx.sum(gx.sin(x)), x)


# -- variables in the middle, and none at all -----------------------------------------------------


def test_an_intermediate_tensor_is_a_variable(x):
    h = gx.tanh(x)
    loss = gx.sum(h * h * x)
    by_h, by_x = gx.grad(loss, [h, x])
    np.testing.assert_allclose(value(by_h, x=X), 2 * np.tanh(X) * X)
    total = np.tanh(X) ** 2 + 2 * np.tanh(X) * X * (1 - np.tanh(X) ** 2)
    np.testing.assert_allclose(value(by_x, x=X), total)
    both = gx.jvp(loss, [h, x], [X, X])
    np.testing.assert_allclose(value(both, x=X), X @ (2 * np.tanh(X) * X) + X @ total)


def test_variables_inside_a_stable_form_are_not_stepped_over():
    x = gx.input("x", (2, 3), "float64")
    p = gx.softmax(x)
    loss = -gx.mean(gx.log(p)[:, 0])
    v = np.random.default_rng(0).standard_normal((2, 3))
    by_p = value(gx.grad(loss, p), x=v)
    s = np.exp(v) / np.exp(v).sum(1, keepdims=True)
    expected = np.zeros((2, 3))
    expected[:, 0] = -0.5 / s[:, 0]
    np.testing.assert_allclose(by_p, expected)
    for by_x in (gx.grad(loss, x), gx.grad(loss, [p, x])[1]):
        closed = (s - np.array([1.0, 0, 0])) / 2
        np.testing.assert_allclose(value(by_x, x=v), closed, rtol=1e-12)


def test_unreached_tensors_are_named(x, t):
    forgotten = gx.parameter(np.zeros(2), name="forgotten")
    loss = gx.sum(x)
    for call in (
        lambda: gx.grad(loss, [x, forgotten]),
        lambda: gx.vjp([x], [forgotten], [X]),
        lambda: gx.jvp(forgotten, x, X),
        lambda: gx.jacobian(x, forgotten),
        lambda: gx.hvp(loss, forgotten, np.zeros(2)),
    ):
        with pytest.raises(ValueError, match=r"does not depend on forgotten.*test_autodiff.py"):
            call()
    zero = gx.grad(loss, {"a": forgotten}, unconnected="zero")["a"]
    np.testing.assert_array_equal(value(zero), np.zeros(2))
    assert value(gx.jvp(forgotten * 1.0, x, X, unconnected="zero")).tolist() == [0, 0]
    with pytest.raises(ValueError, match='"raise" or "zero" or "none"'):
        gx.grad(loss, x, unconnected="zeros")
    for transform in (gx.hvp, gx.jvp, gx.hessian, gx.jacobian):
        vectors = (x,) if transform in (gx.hvp, gx.jvp) else ()
        with pytest.raises(ValueError, match='is "raise" or "zero", not \'none\''):
            transform(loss, x, *vectors, unconnected="none")


def test_a_zero_derivative_is_not_unreached(x):
    for f in (gx.floor, gx.stop_gradient, gx.sign):
        np.testing.assert_array_equal(value(gx.grad(gx.sum(f(x)), x), x=X), np.zeros(3))
        np.testing.assert_array_equal(value(gx.jvp(f(x), x, X), x=X), np.zeros(3))


def test_a_path_through_integers_does_not_count(x):
    with pytest.raises(ValueError, match="does not depend on x"):
        gx.grad(gx.sum(gx.astype(x > 0, "float64")), x)


def test_stop_gradient(x):
    loss = gx.sum(gx.stop_gradient(x) * x)
    np.testing.assert_array_equal(value(loss, x=X), (X * X).sum())
    np.testing.assert_array_equal(value(gx.grad(loss, x), x=X), X)
    np.testing.assert_array_equal(value(gx.jvp(loss, x, np.ones(3)), x=X), X.sum())


def test_arguments_are_checked(x, t):
    i = gx.input("i", (3,), "int64")
    with pytest.raises(ValueError, match=r"the loss must be a scalar, got x.*gx.vjp"):
        gx.grad(x, x)
    with pytest.raises(TypeError, match=r"i: int64.*not floating-point"):
        gx.grad(gx.sum(x * i), i)
    with pytest.raises(TypeError, match="expected a Tensor, got ndarray"):
        gx.grad(gx.sum(x), X)
    with pytest.raises(ValueError, match="2 tensors but 1 tangents"):
        gx.jvp(x * t, [x, t], [X])
    with pytest.raises(ValueError, match=r"the cotangent of .* has shape \(2,\)"):
        gx.vjp(x, x, np.zeros(2))


# -- marks ----------------------------------------------------------------------------------------


def test_adjoints_are_marked_and_come_in_reverse_order(x):
    w = gx.parameter(np.eye(3), name="w")
    h = gx.tanh(x @ w)
    loss = gx.sum(gx.square(h))
    g = gx.grad(loss, w)
    assert g.adjoint_of is w
    assert g.phase == "backward"
    from graphc.ir.graph import ancestors

    marked = [n for n in ancestors([g]) if n.adjoint_of is not None]
    primals = [n.adjoint_of.id for n in marked]
    assert len(marked) >= 4
    assert primals == sorted(primals, reverse=True)
    assert g.loc.split(":")[-1] == (x @ w).loc.split(":")[-1] or "test_autodiff" in g.loc
    assert gx.jvp(h, x, X).phase == "forward"
    assert gx.jvp(g, x, X).phase == "backward"


def test_deep_chains_need_no_recursion(t):
    h = t
    for _ in range(5000):
        h = gx.sin(h) + t
    g, d = gx.grad(h, t), gx.jvp(h, t, 1.0)
    np.testing.assert_allclose(value(g, t=0.1), value(d, t=0.1), rtol=1e-9)
    gx.hvp(h, t, 1.0)


# -- the check itself -----------------------------------------------------------------------------


def test_check_grads_accepts_a_network():
    x = gx.input("x", (None, 3), "float64")
    w, b = gx.parameter(np.random.default_rng(0).standard_normal((3, 4)), name="w"), gx.parameter(
        np.zeros(4), name="b")  # fmt: skip
    h = gx.tanh(x @ w + b)
    loss = gx.mean(gx.softplus(h) * h)
    feeds = {"x": np.random.default_rng(1).standard_normal((5, 3))}
    gx.check_grads(loss, [w, b, x, h], feeds)
    gx.check_grads({"h": h}, w, {x: feeds["x"]}, modes=["forward"], order=1)


def test_check_grads_in_float32():
    x = gx.input("x", (4,))
    gx.check_grads(gx.sum(gx.tanh(x) * x), x, {"x": [0.1, 0.2, -0.5, 1.0]})


class WrongSin(Sin):
    """A sine whose derivative is wrong in one mode."""

    name = "wrong_sin"

    def vjp(self, g, out, *inputs):
        return (g * gx.cos(inputs[0]) * 1.001,)


class WrongSecond(Sin):
    """A sine whose second derivative is wrong."""

    name = "wrong_second"

    def partials(self, out, *inputs):
        return (gx.cos(inputs[0]) + gx.stop_gradient(inputs[0]) - inputs[0],)


def test_check_grads_finds_a_wrong_derivative(x):
    with pytest.raises(GradientError, match=r"order 1 by x: float64\(3,\).*reverse mode.*allowed"):
        gx.check_grads(gx.sum(apply(WrongSin(), x) * x), x, {"x": X})
    gx.check_grads(gx.sum(apply(WrongSecond(), x)), x, {"x": X}, order=1)
    with pytest.raises(GradientError, match="order 2 by x"):
        gx.check_grads(gx.sum(apply(WrongSecond(), x)), x, {"x": X}, order=2)


def test_check_grads_finds_nan(x):
    with pytest.raises(GradientError, match="nan"):
        gx.check_grads(gx.sum(gx.sqrt(x)), x, {"x": X})


def test_check_grads_checks_its_arguments(x):
    with pytest.raises(ValueError, match="modes are"):
        gx.check_grads(gx.sum(x), x, {"x": X}, modes=["backward"])
    with pytest.raises(TypeError, match="no input is named 'y'"):
        gx.check_grads(gx.sum(x), x, {"y": X})
    with pytest.raises(TypeError, match="is not fed"):
        gx.check_grads(gx.sum(x), x)
