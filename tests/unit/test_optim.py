"""Optimisers, clipping and schedules against PyTorch in float64."""

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate

torch = pytest.importorskip("torch")

STEPS = 7
SHAPES = [(3, 4), (4,), ()]


def problem(dtype="float64"):
    """Return parameters, a loss of curvature and coupling, and the same for PyTorch."""
    rng = np.random.default_rng(0)
    start = [rng.standard_normal(s).astype(dtype) for s in SHAPES]
    target = rng.standard_normal((STEPS, *SHAPES[0])).astype(dtype)
    goal = gx.input("goal", SHAPES[0], dtype=dtype)
    ws = [gx.parameter(v, name=n, dtype=dtype) for v, n in zip(start, "abc", strict=True)]

    def loss_of(a, b, c, goal):
        residual = a * c + b - goal
        return (residual * residual).sum() + (a * a * a).sum() * 0.01

    return ws, loss_of(*ws, goal), goal, loss_of, start, target


def run(optimizer, rates=None, dtype="float64"):
    ws, loss, goal, _, _, target = problem(dtype)
    updates = optimizer.updates(ws, gx.grad(loss, ws))
    graph = Graph([goal], {"loss": loss}, updates)
    history = []
    for t in range(STEPS):
        if rates:
            optimizer.lr = rates[t]
        values = evaluate(graph.roots, {goal: target[t]})
        for p, new in updates.items():
            assert p.type == new.type
            p.op.cell.array[...] = values[new]
        history.append([w.op.cell.array.copy() for w in ws])
    return history, updates


def run_torch(make, rates=None, clip=lambda ws: None, dtype="float64"):
    _, _, _, loss_of, start, target = problem(dtype)
    ws = [torch.tensor(v, requires_grad=True) for v in start]
    optimizer = make(ws)
    history = []
    for t in range(STEPS):
        if rates:
            optimizer.param_groups[0]["lr"] = rates[t]
        optimizer.zero_grad()
        loss_of(*ws, torch.tensor(target[t])).backward()
        clip(ws)
        optimizer.step()
        history.append([w.detach().numpy().copy() for w in ws])
    return history


def check(got, expected, **tolerance):
    for mine, reference in zip(got, expected, strict=True):
        for a, b in zip(mine, reference, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a, b, **(tolerance or {"rtol": 1e-12, "atol": 1e-14}))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": 0.01, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
        ("AdamW", {"lr": 0.03, "amsgrad": True}),
        ("RMSprop", {"lr": 0.01, "centered": True, "momentum": 0.9}),
        ("Adagrad", {"lr": 0.1, "lr_decay": 0.2}),
    ],
)
def test_compiled_steps_are_those_of_pytorch(name, options):
    rates = [0.1, 0.05, 0.05, 0.2, 0.01, 0.0, 0.1]
    optimizer = getattr(optim, name)(**options, clip_norm=2.0)
    ws, loss, goal, _, _, target = problem()
    f = gx.function([goal], loss, optimizer.updates(ws, gx.grad(loss, ws)))
    history = []
    for t, rate in enumerate(rates):
        optimizer.lr = rate
        f(target[t])
        history.append([w.op.cell.array.copy() for w in ws])
    expected = run_torch(
        lambda ws: getattr(torch.optim, name)(ws, **options), rates,
        clip=lambda ws: torch.nn.utils.clip_grad_norm_(ws, 2.0),
    )  # fmt: skip
    check(history, expected)


def combinations(**choices):
    for values in itertools.product(*choices.values()):
        yield dict(zip(choices, values, strict=True))


CASES = [
    *(("SGD", o) for o in combinations(lr=[0.01], momentum=[0.0, 0.9], dampening=[0.0, 0.3],
                                       weight_decay=[0.0, 0.1])),
    *(("SGD", o) for o in combinations(lr=[0.01], momentum=[0.8], nesterov=[True],
                                       weight_decay=[0.0, 0.1])),
    *((n, o) for n in ("Adam", "AdamW")
      for o in combinations(lr=[0.03], betas=[(0.9, 0.999), (0.5, 0.7)], eps=[1e-8, 1e-3],
                            weight_decay=[0.0, 0.1], amsgrad=[False, True])),
    *(("RMSprop", o) for o in combinations(lr=[0.01], alpha=[0.99, 0.5], eps=[1e-8, 1e-3],
                                           momentum=[0.0, 0.9], centered=[False, True],
                                           weight_decay=[0.0, 0.1])),
    *(("Adagrad", o) for o in combinations(lr=[0.1], lr_decay=[0.0, 0.2],
                                           initial_accumulator_value=[0.0, 0.5],
                                           weight_decay=[0.0, 0.1])),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), CASES)
def test_steps_are_those_of_pytorch(name, options):
    got, _ = run(getattr(optim, name)(**options))
    check(got, run_torch(lambda ws: getattr(torch.optim, name)(ws, **options)))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_defaults_are_those_of_pytorch(name):
    got, _ = run(getattr(optim, name)())
    check(got, run_torch(lambda ws: getattr(torch.optim, name)(ws)))


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_float32_stays_float32(name):
    got, updates = run(getattr(optim, name)(0.01), dtype="float32")
    expected = run_torch(lambda ws: getattr(torch.optim, name)(ws, lr=0.01), dtype="float32")
    check(got, expected, rtol=1e-4, atol=1e-6)
    wide = {p.label for p in updates if p.dtype == "float64"}
    assert not wide - {f"{name.lower()}.lr"}


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad"])
def test_the_learning_rate_changes_without_a_new_graph(name):
    rates = [0.1, 0.05, 0.05, 0.2, 0.01, 0.0, 0.1]
    optimizer = getattr(optim, name)(0.5)
    assert optimizer.lr == 0.5
    got, _ = run(optimizer, rates)
    assert optimizer.lr == rates[-1]
    check(got, run_torch(lambda ws: getattr(torch.optim, name)(ws, lr=0.5), rates))


def test_the_learning_rate_survives_initialisation():
    optimizer = optim.Adam(0.5)
    w = gx.parameter(1.0)
    updates = optimizer.updates([w], gx.grad(w * w, [w]))
    rate = next(t for t in Graph([], {}, updates).parameters if t.label == "adam.lr")
    optimizer.lr = 0.25
    rate.op.cell.initialize(np.random.default_rng(0))
    assert rate.op.cell.array == 0.25
    rate.op.cell.array[...] = 0.125
    assert optimizer.lr == 0.125


@pytest.mark.parametrize("limit", [0.5, 1e6])
def test_clipping_by_norm(limit):
    got, _ = run(optim.SGD(0.1, momentum=0.9, clip_norm=limit))
    expected = run_torch(
        lambda ws: torch.optim.SGD(ws, lr=0.1, momentum=0.9),
        clip=lambda ws: torch.nn.utils.clip_grad_norm_(ws, limit),
    )
    check(got, expected)


def test_clipping_by_value():
    got, _ = run(optim.Adam(0.1, clip_value=0.3))
    expected = run_torch(
        lambda ws: torch.optim.Adam(ws, lr=0.1),
        clip=lambda ws: torch.nn.utils.clip_grad_value_(ws, 0.3),
    )
    check(got, expected)


def test_clipping_by_both_keeps_both_limits():
    grads = [gx.constant(np.array(v)) for v in ([3.0, -4.0], [0.1, 12.0])]
    clipped = optim.clip_by_global_norm(optim.clip_by_value(grads, 2.0), 1.0)
    norm = optim.global_norm(clipped)
    values = evaluate([norm, *clipped], {})
    assert values[norm] == pytest.approx(1.0, abs=1e-5)
    flat = np.concatenate([values[c] for c in clipped])
    np.testing.assert_allclose(flat / flat[0], [1, -1, 0.05, 1], rtol=1e-12)
    assert optim.clip_by_global_norm([], 1.0) == []


def test_state_is_named_after_its_parameter_and_stands_in_the_update_phase():
    x = gx.input("x", (None, 3))
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
    loss = (net(x) ** 2.0).mean()
    updates = optim.Adam().updates(net.parameters, gx.grad(loss, list(net.parameters)))
    graph = Graph([x], {"loss": loss}, updates)
    state = [p for p in graph.parameters if not p.op.trainable]
    assert {graph.keys[p] for p in state} == {
        "adam.lr", "adam.beta1", "adam.beta2", "adam.eps", "adam.step",
        *(f"adam.{slot}.{name}" for slot in "mv"
          for name in ("linear_0.weight", "linear_0.bias", "linear_1.weight")),
    }  # fmt: skip
    assert {p.phase for p in state} == {"update"}
    assert {new.phase for new in updates.values()} == {"update"}
    assert len(updates) == 3 * 3 + 1
    named = optim.SGD(momentum=0.5).updates(net.parameters[:1], [net[0].weight * 1.0], ["w"])
    assert [p.label for p in named] == ["weight", "sgd.momentum.w"]


def test_plain_gradient_descent_has_no_state():
    w = gx.parameter(1.0)
    updates = optim.SGD(0.1).updates([w], gx.grad(w * w, [w]))
    assert list(updates) == [w]


def test_two_models_have_state_of_their_own_and_share_the_rate():
    optimizer = optim.SGD(0.1, momentum=0.9)
    pairs = [optimizer.updates([w], gx.grad(w * w, [w])) for w in
             (gx.parameter(1.0), gx.parameter(2.0))]  # fmt: skip
    assert len({id(p) for updates in pairs for p in updates}) == 4
    optimizer.lr = 0.3
    for updates in pairs:
        rate = next(t for t in Graph([], {}, updates).parameters if t.label == "sgd.lr")
        assert rate.op.cell.array == 0.3


def test_an_optimiser_of_ones_own():
    class SignDescent(optim.Optimizer):
        slots = ()

        def scalars(self, lr, step):
            return (lr,)

        def rule(self, scalars, p, g, *slots):
            return (p - scalars[0] * gx.sign(g),)

    got, updates = run(SignDescent(0.5))
    assert np.ptp(np.abs(got[1][0] - got[0][0])) < 1e-12
    assert all("signdescent" in t.label for t in updates if not t.op.trainable)


CHANGES = [
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1},
     {"lr": 0.02, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.0}),
    ("Adam", {"lr": 0.05, "weight_decay": 0.1},
     {"lr": 0.0, "betas": (0.5, 0.8), "eps": 0.1, "weight_decay": 0.3}),
    ("AdamW", {"lr": 0.05}, {"lr": 0.01, "betas": (0.5, 0.8), "eps": 0.1, "weight_decay": 0.3}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.1},
     {"alpha": 0.5, "eps": 1e-3, "momentum": 0.2, "weight_decay": 0.0}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1},
     {"lr_decay": 0.5, "eps": 1e-3, "weight_decay": 0.3}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "options", "changes"), CHANGES)
def test_every_setting_takes_effect_at_the_next_step(name, options, changes):
    """One after the other, in a compiled function, as PyTorch's ``param_groups``."""
    optimizer = getattr(optim, name)(**options)
    ws, loss, goal, loss_of, start, target = problem()
    f = gx.function([goal], loss, optimizer.updates(ws, gx.grad(loss, ws)))
    peers = [torch.tensor(v, requires_grad=True) for v in start]
    reference = getattr(torch.optim, name)(peers, **options)
    for t, (setting, value) in enumerate([*options.items(), *changes.items()]):
        setattr(optimizer, setting, value)
        assert getattr(optimizer, setting) == value
        reference.param_groups[0][setting] = value
        f(target[t % STEPS])
        reference.zero_grad()
        loss_of(*peers, torch.tensor(target[t % STEPS])).backward()
        reference.step()
        check([[w.op.cell.array for w in ws]], [[p.detach().numpy() for p in peers]])


def test_every_setting_of_every_optimiser_is_tried_above():
    tried = {(name, s) for name, _, changes in CHANGES for s in changes}
    tried |= {(n, b) for n, s in tried if s == "betas" for b in ("beta1", "beta2")}
    for name, options, _ in CHANGES:
        left = {(name, s) for s in getattr(optim, name).settings()} - tried
        assert {s for _, s in left} <= {"clip_norm", "clip_value", *options}


@pytest.mark.parametrize("setting", ["clip_norm", "clip_value"])
def test_clipping_takes_effect_at_the_next_step(setting):
    w = gx.parameter(np.zeros(2), dtype="float64")
    optimizer = optim.SGD(1.0, **{setting: 1.0})
    step = gx.function([], (), optimizer.updates([w], [gx.constant(np.array([6.0, 8.0]))]))
    step()
    setattr(optimizer, setting, 5.0)
    step()
    expected = {"clip_norm": [-3.6, -4.8], "clip_value": [-6.0, -6.0]}[setting]
    np.testing.assert_allclose(w.op.cell.array, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("optimizer", "setting", "value"),
    [
        (optim.SGD(0.1), "momentum", 0.9),
        (optim.SGD(0.1), "weight_decay", 0.1),
        (optim.Adam(), "weight_decay", 0.1),
        (optim.Adam(), "clip_norm", 1.0),
        (optim.Adam(clip_norm=1.0), "clip_norm", None),
        (optim.RMSprop(), "momentum", 0.1),
        (optim.Adagrad(), "lr_decay", 0.1),
    ],
)
def test_a_setting_that_steps_were_compiled_without_says_so(optimizer, setting, value):
    w = gx.parameter(1.0)
    before = getattr(optimizer, setting)
    optimizer.updates([w], gx.grad(w * w, [w]))
    setattr(optimizer, setting, before)
    with pytest.raises(ValueError, match=f"{setting} cannot become {value}.*make them anew") as e:
        setattr(optimizer, setting, value)
    assert "test_optim.py:" in str(e.value)
    assert getattr(optimizer, setting) == before


def test_settings_change_freely_before_the_first_step_is_made():
    optimizer = optim.Adam(betas=(0.1, 0.2))
    optimizer.weight_decay, optimizer.clip_norm, optimizer.betas = 0.1, 2.0, (0.9, 0.999)
    got, _ = run(optimizer)
    check(got, run(optim.Adam(weight_decay=0.1, clip_norm=2.0))[0])
    with pytest.raises(TypeError, match="betas must be two numbers"):
        optimizer.betas = 0.9
    with pytest.raises(ValueError, match=r"betas\[1\] must be in"):
        optimizer.betas = (0.5, 1.0)
    assert optimizer.betas == (0.9, 0.999)


def test_bad_arguments():
    for make, hint in [
        (lambda: optim.SGD(-1.0), "lr must not be negative"),
        (lambda: optim.SGD(0.1, nesterov=True), "nesterov needs a momentum"),
        (lambda: optim.Adam(betas=(1.0, 0.9)), r"betas\[0\]"),
        (lambda: optim.Adam(eps=-1.0), "eps"),
        (lambda: optim.RMSprop(alpha=1.5), "alpha"),
        (lambda: optim.Adagrad(clip_norm=0.0), "clip_norm must be positive"),
        (lambda: optim.SGD(float("nan")), "lr"),
    ]:
        with pytest.raises(ValueError, match=hint) as error:
            make()
        assert "test_optim.py:" in str(error.value)
    with pytest.raises(TypeError, match="lr must be a number"):
        optim.SGD("fast")
    w, v, k = gx.parameter(1.0, name="w"), gx.input("v", (2,)), gx.parameter(1, dtype="int64")
    for parameters, gradients, kind in [
        ([w], [], ValueError), ([w], [v], ValueError), ([w, w], [w, w], ValueError),
        ([v], [v], TypeError), ([k], [k], TypeError),
    ]:  # fmt: skip
        with pytest.raises(kind, match="updates"):
            optim.SGD(0.1).updates(parameters, gradients)


class TestSchedules:
    def compare(self, schedule, make, steps):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
        reference = make(optimizer)
        for t in range(steps):
            assert schedule(t) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
            optimizer.step()
            reference.step()

    def test_step(self):
        lr = torch.optim.lr_scheduler
        self.compare(optim.schedules.step(0.4, 3, 0.5), lambda o: lr.StepLR(o, 3, 0.5), 10)

    def test_exponential(self):
        lr = torch.optim.lr_scheduler
        self.compare(optim.schedules.exponential(0.4, 0.9), lambda o: lr.ExponentialLR(o, 0.9), 10)

    def test_cosine(self):
        lr = torch.optim.lr_scheduler
        schedule = optim.schedules.cosine(0.4, 10, 0.01)
        self.compare(schedule, lambda o: lr.CosineAnnealingLR(o, 10, 0.01), 11)
        assert schedule(25) == 0.01

    def test_warmup(self):
        lr = torch.optim.lr_scheduler
        schedule = optim.schedules.warmup(optim.schedules.constant(0.4), 5, 0.2)
        self.compare(schedule, lambda o: lr.LinearLR(o, 0.2, 1.0, 5), 10)
        then = optim.schedules.warmup(optim.schedules.exponential(0.4, 0.5), 4)
        assert [then(t) for t in (0, 2, 4, 5)] == [0.0, 0.2, 0.4, 0.2]
