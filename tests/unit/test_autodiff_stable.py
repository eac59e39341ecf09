"""Naive formulas have exact, finite values and gradients for logits far apart."""

import numpy as np
import pytest

import graphc as gx
from graphc.ir.graph import Graph, ancestors
from graphc.ir.interpret import interpret
from graphc.ops.stable import STABLE
from graphc.passes.compare import random_feeds
from graphc.passes.pipeline import optimize

LOGITS = np.array(
    [[1000, -1000, 0, 3], [0, 0, 0, 0], [1, 2, 3, 4], [-1000, 1000, 999, 0], [88, 89, -89, 104]],
    np.float32,
)
LABELS = np.array([1, 0, 2, 1, 3])


def run(loss, wrt, feeds):
    """Return value and gradient by ``wrt``, after the passes."""
    inputs = [t for t in ancestors([loss]) if t.op.name == "input"]
    graph = Graph(inputs, {"loss": loss, "g": gx.grad(loss, wrt)})
    result = interpret(optimize(graph)[0], {t: feeds[t.name] for t in inputs})
    return result["loss"], result["g"]


def shifted(x):
    return gx.exp(x - gx.max(x, axis=1, keepdims=True))


def picked(values, labels):
    return gx.take_along_axis(values, labels[:, None], axis=1)


def over_sum(e, labels):
    return -gx.mean(picked(gx.log(e / gx.sum(e, axis=1)[:, None]), labels))


CROSS_ENTROPIES = {
    "log of softmax": lambda x, y: -gx.mean(picked(gx.log(gx.softmax(x, axis=1)), y)),
    "log of picked softmax": lambda x, y: -gx.mean(gx.log(picked(gx.softmax(x, axis=1), y))),
    "log_softmax": lambda x, y: -gx.mean(picked(gx.log_softmax(x, axis=1), y)),
    "exp over sum": lambda x, y: (
        -gx.mean(picked(gx.log(gx.exp(x) / gx.sum(gx.exp(x), axis=1, keepdims=True)), y))
    ),
    "shared exp over sum": lambda x, y: over_sum(gx.exp(x), y),
    "shifted exp over sum": lambda x, y: over_sum(shifted(x), y),
    "one hot": lambda x, y: (
        -gx.sum(gx.one_hot(y, 4, dtype="float32") * gx.log(gx.softmax(x, axis=1))) / 5
    ),
    "log sum exp": lambda x, y: gx.mean(gx.log(gx.sum(gx.exp(x), axis=1)) - picked(x, y)[:, 0]),
}


@pytest.mark.parametrize("form", CROSS_ENTROPIES)
def test_cross_entropy(form):
    torch = pytest.importorskip("torch")
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
    loss, g = run(CROSS_ENTROPIES[form](x, y), x, {"x": LOGITS, "y": LABELS})
    tx = torch.tensor(LOGITS, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(tx, torch.tensor(LABELS))
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-6)
    # the derivative of logsumexp is exp(x - out), whose error is that of out: half an ulp of 1000
    atol = 2e-5 if form == "log sum exp" else 1e-7
    np.testing.assert_allclose(g, tx.grad.numpy(), atol=atol, rtol=1e-6)


ONE_LOGIT = {
    "log(sigmoid(x))": (lambda x: gx.log(gx.sigmoid(x)), lambda f, x: f.logsigmoid(x)),
    "log(1/(1+exp(-x)))": (lambda x: gx.log(1 / (1 + gx.exp(-x))), lambda f, x: f.logsigmoid(x)),
    "log(exp(x)/(1+exp(x)))": (
        lambda x: (lambda e: gx.log(e / (1 + e)))(gx.exp(x)), lambda f, x: f.logsigmoid(x)),
    "log(1-sigmoid(x))": (lambda x: gx.log(1 - gx.sigmoid(x)), lambda f, x: f.logsigmoid(-x)),
    "-log(1-sigmoid(x))": (lambda x: -gx.log(1 - gx.sigmoid(x)), lambda f, x: -f.logsigmoid(-x)),
    "log(1+exp(x))": (lambda x: gx.log(1 + gx.exp(x)), lambda f, x: -f.logsigmoid(-x)),
    "log1p(exp(x))": (lambda x: gx.log1p(gx.exp(x)), lambda f, x: -f.logsigmoid(-x)),
    "log(exp(x))": (lambda x: gx.log(gx.exp(x)), lambda f, x: x * 1.0),
}  # fmt: skip


@pytest.mark.parametrize("form", ONE_LOGIT)
def test_one_logit(form):
    torch = pytest.importorskip("torch")
    values = np.array([-1000, -104, -50, -1e-3, 0, 1e-3, 17, 50, 104, 1000], np.float32)
    x = gx.input("x", (10,))
    ours, theirs = ONE_LOGIT[form]
    loss, g = run(gx.sum(ours(x)), x, {"x": values})
    tx = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    expected = theirs(torch.nn.functional, tx).sum()
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(g, tx.grad.numpy(), rtol=2e-6, atol=1e-38)


def log_sigmoids(x):
    return -np.logaddexp(0, -x)


CHOSEN = {
    "log((1-s)[:2])": (lambda x: gx.log((1 - gx.sigmoid(x))[:2]), lambda x: log_sigmoids(-x[:2])),
    "log(1-s[0])": (lambda x: gx.log(1 - gx.sigmoid(x)[0]), lambda x: log_sigmoids(-x[:1])),
    "log(s[::2])": (lambda x: gx.log(gx.sigmoid(x)[::2]), lambda x: log_sigmoids(x[::2])),
    "log1p(-s[1:])": (lambda x: gx.log1p(-gx.sigmoid(x)[1:]), lambda x: log_sigmoids(-x[1:])),
    "log1p((-s)[1:])": (lambda x: gx.log1p((-gx.sigmoid(x))[1:]), lambda x: log_sigmoids(-x[1:])),
    "log1p(exp(x)[0])": (lambda x: gx.log1p(gx.exp(x)[0]), lambda x: -log_sigmoids(-x[:1])),
    "log((1+exp(x))[0])": (lambda x: gx.log((1 + gx.exp(x))[0]), lambda x: -log_sigmoids(-x[:1])),
    "log(1+exp(x)[0])": (lambda x: gx.log(1 + gx.exp(x)[0]), lambda x: -log_sigmoids(-x[:1])),
    "log(e[0]/(1+e[0]))": (
        lambda x: (lambda e: gx.log(e / (1 + e)))(gx.exp(x)[0]), lambda x: log_sigmoids(x[:1])),
    "log(exp(x)[0])": (lambda x: gx.log(gx.exp(x)[0]), lambda x: x[:1]),
    "log(concat([s, s]))": (
        lambda x: (lambda s: gx.log(gx.concat([s, s])))(gx.sigmoid(x)),
        lambda x: log_sigmoids(np.concatenate([x, x]))),
    "log(stack([s, 1-s])[1])": (
        lambda x: (lambda s: gx.log(gx.stack([s, 1 - s])[1]))(gx.sigmoid(x)),
        lambda x: log_sigmoids(-x)),
    "log(concat([s, y]))": (
        lambda x: gx.log(gx.concat([gx.sigmoid(x), gx.asarray(np.ones(2, "float32"))])),
        log_sigmoids),
    "log(take(s, [0, 3]))": (
        lambda x: gx.log(gx.take(gx.sigmoid(x), gx.asarray(np.array([0, 3])))),
        lambda x: log_sigmoids(x[[0, 3]])),
    "log(where(x > 0, s, 1-s))": (
        lambda x: (lambda s: gx.log(gx.where(x < 0, s, 1 - s)))(gx.sigmoid(x)),
        lambda x: log_sigmoids(-abs(x))),
    "log(where(x > 0, 1, s))": (
        lambda x: gx.log(gx.where(x > 0, 1.0, gx.sigmoid(x))),
        lambda x: log_sigmoids(np.where(x > 0, np.inf, x))),
    "log(sum(exp(x))[0])": (
        lambda x: gx.log(gx.sum(gx.exp(gx.reshape(x, (2, 5))), axis=1)[0]),
        lambda x: np.logaddexp.reduce(x[:5], keepdims=True)),
}  # fmt: skip
"""Logarithms of choices of elements and of parts joined."""


@pytest.mark.parametrize("form", CHOSEN)
def test_logarithms_of_choices_and_of_parts(form):
    values = np.array([-1000, -104, -50, -1e-3, 2e-3, 1, 17, 50, 104, 1000], np.float32)
    for fed in (values, values[::-1]):
        x = gx.input("x", (10,))
        ours, theirs = CHOSEN[form]
        loss, g = run(gx.sum(ours(x)), x, {"x": fed})
        exact = fed.astype(np.float64)
        np.testing.assert_allclose(loss, theirs(exact).sum(), rtol=1e-6, atol=1e-38)
        step = 1e-6
        moved = [(theirs(exact + d) - theirs(exact - d)).sum() for d in step * np.eye(10)]
        np.testing.assert_allclose(g, np.array(moved) / 2 / step, atol=3e-6)
        tangent = gx.jvp(ours(x), x, gx.ones_like(x))
        graph = optimize(Graph([x], {"t": gx.sum(tangent)}))[0]
        np.testing.assert_allclose(interpret(graph, {x: fed})["t"], g.sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "chosen",
    [
        lambda x: gx.log((1 + x)[1:]),
        lambda x: gx.log(gx.where(x > -1, 1 + x, 1.0)),
        lambda x: gx.log(gx.concat([gx.sigmoid(x), 1 + x])[:-3]),
        lambda x: gx.log(gx.concat([gx.sigmoid(x), x + 1, x])[:3]),
    ],
)
def test_what_is_not_chosen_does_not_matter(chosen):
    x = gx.input("x", (3,))
    _, g = run(gx.sum(chosen(x)), x, {"x": np.array([-1, 0, 1], np.float32)})
    assert np.isfinite(g).all()


def test_a_long_recurrence_of_choices():
    x = gx.input("x", (4,))
    state = gx.sigmoid(x)
    for _ in range(200):
        state = gx.concat([state[1:], state[:1]])
    loss, g = run(gx.sum(gx.log(state)), x, {"x": np.zeros(4, np.float32)})
    np.testing.assert_allclose(loss, 4 * np.log(0.5), rtol=1e-6)
    np.testing.assert_allclose(g, np.full(4, 0.5), rtol=1e-6)


def test_binary_cross_entropy_from_probabilities():
    torch = pytest.importorskip("torch")
    values = np.array([-1000, -20, 0, 20, 1000], np.float32)
    targets = np.array([0, 1, 0.5, 1, 0], np.float32)
    x, y = gx.input("x", (None,)), gx.input("y", (None,))
    p = gx.sigmoid(x)
    loss, g = run(-gx.mean(y * gx.log(p) + (1 - y) * gx.log(1 - p)), x, {"x": values, "y": targets})
    tx = torch.tensor(values, requires_grad=True)
    f = torch.nn.functional
    expected = f.binary_cross_entropy_with_logits(tx, torch.tensor(targets))
    expected.backward()
    np.testing.assert_allclose(loss, expected.item(), rtol=1e-6)
    np.testing.assert_allclose(g, tx.grad.numpy(), atol=1e-7)


def test_log_of_sum_of_exp():
    torch = pytest.importorskip("torch")
    x = gx.input("x", (5, 4))
    loss, g = run(gx.sum(gx.log(gx.sum(gx.exp(x), axis=1))), x, {"x": LOGITS})
    tx = torch.tensor(LOGITS.astype("float64"), requires_grad=True)  # theirs is exp(x - out)
    torch.logsumexp(tx, 1).sum().backward()
    assert np.isfinite(loss)
    assert np.isfinite(g).all()
    np.testing.assert_allclose(g, tx.grad.numpy().astype("float32"), rtol=1e-6)


def test_second_derivatives_are_finite_too():
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
    loss = CROSS_ENTROPIES["log of picked softmax"](x, y)
    g = gx.grad(loss, x)
    h = gx.grad(gx.sum(g * g), x)
    j = gx.jvp(g, x, x)
    graph = Graph([x, y], {"h": h, "j": j})
    result = interpret(optimize(graph)[0], {x: LOGITS, y: LABELS})
    assert np.isfinite(result["h"]).all()
    assert np.isfinite(result["j"]).all()


def test_small_arguments_keep_their_digits():
    x = gx.input("x", (3,))
    values = np.array([1e-10, -1e-9, 1e-20], np.float32)
    graph = Graph([x], {"log1p": gx.log(1 + x), "expm1": gx.exp(x) - 1})
    result = interpret(optimize(graph)[0], {x: values})
    np.testing.assert_allclose(result["log1p"], values, rtol=1e-6)
    np.testing.assert_allclose(result["expm1"], values, rtol=1e-6)
    tail = Graph([x], {"p": 1 - gx.sigmoid(x * 1e10)})
    values = np.array([5e-9, 8e-9, 0], np.float32)
    np.testing.assert_allclose(
        interpret(optimize(tail)[0], {x: values})["p"], 1 / (1 + np.exp(values * 1e10)), rtol=1e-5
    )


def test_value_and_gradient_share_the_stable_form():
    x, y = gx.input("x", (None, 4)), gx.input("y", (None,), "int64")
    loss = CROSS_ENTROPIES["log of softmax"](x, y)
    graph, _ = optimize(Graph([x, y], {"loss": loss, "g": gx.grad(loss, x)}))
    ops = [n.op.name for n in graph]
    assert ops.count("max") == 1
    assert ops.count("log") == 1
    assert ops.count("exp") == 1


@pytest.mark.parametrize("order", [1, 2])
def test_jvp_goes_through_stable_forms(order):
    x = gx.input("x", (3,), "float64")
    values = np.array([-1000.0, 0.5, 1000.0])
    d = gx.log(gx.sigmoid(x))
    for _ in range(order):
        d = gx.jvp(d, x, np.ones(3))
    result = interpret(Graph([x], {"d": d}), {x: values})["d"]
    s = 1 / (1 + np.exp(-0.5))
    np.testing.assert_allclose(result, [1, 1 - s, 0] if order == 1 else [0, -s * (1 - s), 0],
                               atol=1e-15)  # fmt: skip


RULE_EXAMPLES = {
    "log_of_exp": lambda x: gx.log(gx.exp(x)),
    "log_of_softmax": lambda x: gx.log(gx.softmax(x)),
    "log_of_sigmoid": lambda x: gx.log(gx.sigmoid(x)),
    "log_of_complement": lambda x: gx.log(1 - gx.sigmoid(x)),
    "log_of_sum_of_exp": lambda x: gx.log(gx.sum(gx.exp(x), axis=(0, 1))),
    "log_of_choice": lambda x: gx.log(gx.take(gx.softmax(x), [0, 2], axis=1).T[1:]),
    "log_of_one_plus_exp": lambda x: gx.log(gx.exp(x) + 1),
    "log1p_of_negative": lambda x: gx.log1p(-gx.sigmoid(x)),
    "log1p_of_exp": lambda x: gx.log1p(gx.exp(x)),
    "log_of_one_plus": lambda x: gx.log(1 + x * x),
    "quotient_is_sigmoid": lambda x: 1 / (gx.exp(-x) + 1),
    "quotient_is_softmax": lambda x: gx.exp(x) / gx.sum(gx.exp(x), axis=0),
    "softmax_of_shifted": lambda x: gx.softmax(x - gx.max(x, -1, keepdims=True)),
    "complement_of_sigmoid": lambda x: 1 - gx.sigmoid(x),
    "exp_minus_one": lambda x: gx.exp(x) - 1,
    "negative_log_sigmoid": lambda x: -gx.log(gx.sigmoid(-x)),
}


def test_every_rule_has_an_example():
    assert set(RULE_EXAMPLES) == {rule.name for rule in STABLE.all()}


@pytest.mark.parametrize("rule", RULE_EXAMPLES)
def test_rule(rule):
    x = gx.input("x", (3, 4), "float64")
    out = RULE_EXAMPLES[rule](x)
    graph = Graph([x], {"out": out, "g": gx.grad(gx.sum(out * out), x)})
    with gx.config(check=True, disable_passes="simplify"):
        after, reports = optimize(graph)
    hits = next(r.hits for r in reports if r.name == "stabilize")
    assert rule in hits or rule in {found[1] for n in graph if (found := STABLE.apply(n))}
    feeds = random_feeds(graph, 1)
    np.testing.assert_allclose(interpret(after, feeds)["out"], interpret(graph, feeds)["out"])
    gx.check_grads(out, x, {x: feeds[x]})


def test_formulas_that_only_look_alike_stay():
    x, z = gx.input("x", (3, 3), "float64"), gx.input("z", (3, 3), "float64")
    e = gx.exp(x)
    for out in (
        e / gx.sum(gx.exp(z), axis=1, keepdims=True),
        e / gx.sum(e, axis=1),  # divides columns by the sums of rows
        1 / (1 + gx.exp(z * x[0, 0]))[0] / e,
        gx.log(2 + e),
        gx.log(1 - e),
        2 - gx.sigmoid(x),
    ):
        graph = Graph([x, z], {"out": out})
        with gx.config(check=True):
            _, reports = optimize(graph)
        hits = next(r.hits for r in reports if r.name == "stabilize")
        assert not {"quotient_is_softmax", "log_of_one_plus_exp", "complement_of_sigmoid"} & set(
            hits
        )


@pytest.mark.parametrize("choose", [lambda y: y[:, 1], lambda y: gx.take(y, [2, 0, 2], axis=1)])
def test_log_of_chosen_elements_of_a_sigmoid(choose):
    """Underflow gives no -inf, and no tensor's truth is asked."""
    x = gx.input("x", (2, 3), "float64")
    values = np.array([[-800.0, -1.0, 900.0], [0.0, -900.0, -750.0]])
    found = gx.function(x, gx.log(choose(gx.sigmoid(x))))(values)
    wanted = gx.function(x, choose(gx.log_sigmoid(x)))(values)
    np.testing.assert_array_equal(found, wanted)
    assert np.isfinite(found).all()
