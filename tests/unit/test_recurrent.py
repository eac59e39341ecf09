"""Recurrent layers and cells beside PyTorch's: values, gradients, second derivatives."""

from __future__ import annotations

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError, ShapeError
from tests.layers import same

RNG = np.random.default_rng(0)
N, T, C, H = 3, 5, 3, 4
ENDS = [3, 5, 1]


def torch():
    return pytest.importorskip("torch")


def as_list(state):
    return list(state) if isinstance(state, tuple) else [state]


def as_state(tensors):
    return None if not tensors else tuple(tensors) if len(tensors) > 1 else tensors[0]


def ours(wrt, outputs):
    """Return values, the gradients of a loss, and those of a function of the gradients."""
    loss = sum(gx.sum(gx.sin(y) * 0.7 + y * y * (0.3 + k)) for k, y in enumerate(outputs))
    first = gx.grad(loss, wrt)
    second = gx.grad(sum(gx.sum(gx.sin(g)) for g in first), wrt, unconnected="zero")
    return [*outputs, *first, *second]


def theirs(wrt, outputs):
    """Return what :func:`ours` does, of PyTorch's tensors; those of weights transposed."""
    t = torch()
    loss = sum((y.sin() * 0.7 + y * y * (0.3 + k)).sum() for k, y in enumerate(outputs))
    first = t.autograd.grad(loss, wrt, create_graph=True)
    second = t.autograd.grad(sum(g.sin().sum() for g in first), wrt, allow_unused=True)
    turned = [isinstance(w, t.nn.Parameter) for w in wrt]
    found = [
        np.zeros(w.shape) if g is None else g.detach().numpy()
        for w, g in zip([*wrt, *wrt], [*first, *second], strict=True)
    ]
    found = [g.T if turn else g for g, turn in zip(found, turned * 2, strict=True)]
    return [*(y.detach().numpy() for y in outputs), *found]


def beside(kind, *sizes, given=False, lengths=None, batched=True, **options):
    """Compare a layer with a module of PyTorch of the same arguments."""
    module = getattr(torch().nn, kind)(*sizes, dtype=torch().float64, batch_first=True, **options)
    layer = getattr(nn, kind)(*sizes, dtype="float64", **options)
    layer.load_torch(module.state_dict())
    count = module.num_layers * (2 if module.bidirectional else 1)
    batch = () if not batched else (N,) if given else (None,)
    value = RNG.standard_normal((N, T, C)[0 if batched else 1 :])
    widths = (options.get("proj_size") or H, H)[: 2 if kind == "LSTM" else 1]
    shapes = [(count, *batch, w) for w in widths] if given else []
    begin = [RNG.standard_normal(s) for s in shapes]

    x = gx.input("x", (*batch, T, C), "float64")
    states = [gx.input(f"s{k}", s, "float64") for k, s in enumerate(shapes)]
    ends = [] if lengths is None else [gx.input("lengths", batch, "int64")]
    y, final = layer(x, as_state(states), *ends)
    wrt = [x, *states, *(getattr(layer, name) for name, _ in module.named_parameters())]
    f = gx.function([x, *states, *ends], ours(wrt, [y, *as_list(final)]))
    found = f(value, *begin, *([] if lengths is None else [np.array(lengths)]))

    a, *b = (torch().tensor(v, requires_grad=True) for v in (value, *begin))
    rnn, packed = torch().nn.utils.rnn, a
    if lengths is not None:
        packed = rnn.pack_padded_sequence(a, lengths, batch_first=True, enforce_sorted=False)
    out, last = module(packed, as_state(b))
    if lengths is not None:
        out, _ = rnn.pad_packed_sequence(out, batch_first=True, total_length=T)
    wanted = theirs([a, *b, *module.parameters()], [out, *as_list(last)])
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        same(one, other, f"result {number} of {module}")


CASES = [
    ("RNN", {}),
    ("RNN", {"nonlinearity": "relu", "num_layers": 2, "given": True}),
    ("RNN", {"bias": False, "bidirectional": True, "lengths": ENDS}),
    ("RNN", {"batched": False}),
    ("GRU", {}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "given": True}),
    ("GRU", {"num_layers": 2, "bidirectional": True, "lengths": ENDS}),
    ("GRU", {"bias": False, "batched": False, "given": True}),
    ("LSTM", {}),
    ("LSTM", {"num_layers": 2, "given": True}),
    ("LSTM", {"num_layers": 2, "bidirectional": True, "given": True, "lengths": ENDS}),
    ("LSTM", {"proj_size": 2, "num_layers": 2, "bidirectional": True, "lengths": ENDS}),
    ("LSTM", {"proj_size": 3, "bias": False, "given": True}),
    ("LSTM", {"bidirectional": True, "batched": False, "given": True}),
]


@pytest.mark.parametrize(("kind", "options"), CASES)
def test_layers_are_pytorchs(kind, options):
    beside(kind, C, H, **options)


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("given", [True, False])
@pytest.mark.parametrize(
    ("kind", "options"),
    [("RNN", {}), ("RNN", {"nonlinearity": "relu", "bias": False}), ("GRU", {}),
     ("GRU", {"bias": False}), ("LSTM", {}), ("LSTM", {"bias": False})],
)  # fmt: skip
def test_cells_are_pytorchs(kind, options, given, batched):
    module = getattr(torch().nn, f"{kind}Cell")(C, H, dtype=torch().float64, **options)
    layer = getattr(nn, f"{kind}Cell")(C, H, dtype="float64", **options)
    layer.load_torch(module.state_dict())
    batch = (N,) if batched else ()
    value = RNG.standard_normal((*batch, C))
    begin = [RNG.standard_normal((*batch, H)) for _ in range(1 + (kind == "LSTM"))] if given else []
    x = gx.input("x", value.shape, "float64")
    states = [gx.input(f"s{k}", b.shape, "float64") for k, b in enumerate(begin)]
    names = [name for name, _ in module.named_parameters()]
    outputs = as_list(layer(x, as_state(states)))
    wrt = [x, *states, *(getattr(layer, n) for n in names if given or n != "weight_hh")]
    found = gx.function([x, *states], ours(wrt, outputs))(value, *begin)
    a, *b = (torch().tensor(v, requires_grad=True) for v in (value, *begin))
    own = [p for n, p in module.named_parameters() if given or n != "weight_hh"]
    wanted = theirs([a, *b, *own], as_list(module(a, as_state(b))))
    for number, (one, other) in enumerate(zip(found, wanted, strict=True)):
        same(one, other, f"result {number} of {module}")


# -- ends, open sizes, options ---------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["RNN", "GRU", "LSTM"])
def test_nothing_behind_the_end_is_looked_at(kind):
    layer = getattr(nn, kind)(C, H, 2, bidirectional=True, dtype="float64")
    x = gx.input("x", (None, T, C), "float64")
    ends = gx.input("lengths", (None,), "int32")
    y, state = layer(x, lengths=ends)
    loss = gx.sum(gx.square(y)) + sum(gx.sum(t) for t in as_list(state))
    f = gx.function([x, ends], [y, *as_list(state), *gx.grad(loss, [x, *layer.parameters])])
    value, lengths = RNG.standard_normal((4, T, C)), np.array([3, T, 0, 9], "int32")
    spoiled = value.copy()
    for row, end in zip(spoiled, lengths, strict=True):
        row[end:] = np.nan
    found, again = f(value, lengths), f(spoiled, lengths)
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)
    outputs, slope = found[0], found[2 + (kind == "LSTM")]
    for row, (a, g) in enumerate(zip(outputs, slope, strict=True)):
        end = lengths[row]
        assert (a[end:] == 0).all()
        assert (g[end:] == 0).all()
        assert not end or (a[:end].all() and g[:end].all())
    assert not found[1][:, 2].any()  # of a sample without a step, the state is the first one


def test_batch_and_length_may_be_open():
    layer = nn.GRU(C, H, bidirectional=True, dtype="float64")
    sizes = []
    for shape in ((None, "length", C), (2, 7, C), (2, 3, C)):
        x = gx.input("x", shape, "float64")
        y, h = layer(x, lengths=gx.constant([2, 3]) if shape[0] else None)
        sizes.append(gx.function(x, [y, h, gx.grad(gx.sum(y * y), x)]))
    assert sizes[0].graph.outputs["output 0"].shape[0] is None
    value = RNG.standard_normal((2, 7, C))
    short = sizes[0](value[:, :3])
    assert short[0].shape == (2, 3, 2 * H)
    x = gx.input("x", (2, 7, C), "float64")
    fixed = gx.function(x, layer(x)[0])
    np.testing.assert_array_equal(sizes[0](value)[0], fixed(value))
    assert sizes[2](value[:, :3])[2].shape == (2, 3, C)


def test_dropout_is_between_layers_and_in_training_only():
    layer = nn.LSTM(C, H, 2, dropout=1.0)
    x = gx.input("x", (None, T, C))
    y, _ = layer(x)
    target = gx.input("y", (None, T, H))
    model = gx.Model(inputs=x, outputs=y, targets=target, loss=nn.mse_loss(y, target),
                     optimizer=optim.SGD(0.0))  # fmt: skip
    value = RNG.standard_normal((2, T, C)).astype("float32")
    model.train_step(value, np.zeros((2, T, H), "float32"))
    nothing = [g for n, g in model.gradients(value, np.zeros((2, T, H), "float32")).items()
               if "weight_ih_l1" in n]  # fmt: skip
    assert not nothing[0].any()
    assert model.predict(value).std() > 0
    assert nn.LSTM(C, H, dropout=0.5).dropout == 0.5


def test_products_of_inputs_and_gradients_of_weights_are_one_over_all_steps():
    for kind, options in (("GRU", {}), ("LSTM", {"num_layers": 2})):
        layer = getattr(nn, kind)(C, H, **options)
        x = gx.input("x", (None, 50, C))
        loss = gx.sum(layer(x)[0])
        f = gx.function(x, gx.grad(loss, [x, *layer.parameters]))
        loops = [n for n in f.optimized_graph if n.op.name == "scan"]
        assert len(loops) == 2 * layer.num_layers
        for loop in loops:
            assert sum(n.op.name == "matmul" for n in loop.op.body.nodes) == 1


def test_weights_of_pytorch_are_taken_whole_or_not_at_all():
    module = torch().nn.LSTM(C, H)
    layer = nn.LSTM(C, H)
    whole = {f"encoder.{n}": v for n, v in module.state_dict().items()} | {"head.bias": 1.0}
    layer.load_torch(whole, "encoder.")
    x = gx.input("x", (None, T, C))
    value = RNG.standard_normal((N, T, C)).astype("float32")
    before = gx.function(x, layer(x)[0])(value)
    with pytest.raises(ArgumentError, match=r"LSTM.load_torch: the state lacks weight_hh_l0.*\n"):
        layer.load_torch({n: v for n, v in module.state_dict().items() if "weight_hh" not in n})
    with pytest.raises(ArgumentError, match="has what this layer does not: weight_ih_l1"):
        layer.load_torch(module.state_dict() | {"weight_ih_l1": np.zeros((4 * H, H))})
    with pytest.raises(ShapeError, match=r"weight_hh_l0 transposed has shape \(5, 20\), and"):
        layer.load_torch(module.state_dict() | {"weight_hh_l0": np.zeros((20, 5))})
    np.testing.assert_array_equal(gx.function(x, layer(x)[0])(value), before)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda x: nn.LSTM(3, 4, batch_first=False), ArgumentError, "batch_first=False.*moveaxis"),
        (lambda x: nn.LSTM(3, 4, proj_size=4), ArgumentError, "proj_size must be smaller"),
        (lambda x: nn.LSTM(3, 4, num_layers=0), ArgumentError, "num_layers must be at least 1"),
        (lambda x: nn.RNN(3, 4, nonlinearity="gelu"), ArgumentError, "nonlinearity must be one of"),
        (lambda x: nn.GRU(3, 0), ArgumentError, "hidden_size must be at least 1"),
        (lambda x: nn.GRU(2, 4)(x), ShapeError, r"GRU\(2, 4\) needs sequences of axes \(N, T, 2\)"),
        (
            lambda x: nn.GRU(3, 4)(x, gx.zeros((1, 2, 4))),
            ShapeError,
            r"the state h must have shape \(1, N",
        ),
        (lambda x: nn.LSTM(3, 4)(x, gx.zeros((1, 2, 4))), DTypeError, r"must be \(h, c\)"),
        (lambda x: nn.GRU(3, 4)(x, (x, x)), DTypeError, "state must be a tensor h"),
        (lambda x: nn.GRU(3, 4)(x, lengths=x), DTypeError, "lengths must be integers"),
        (
            lambda x: nn.GRU(3, 4)(x, lengths=gx.constant([1, 2])),
            ShapeError,
            "one element for each",
        ),
        (
            lambda x: nn.GRUCell(3, 4)(x),
            ShapeError,
            r"GRUCell\(3, 4\) needs an input of shape \(N, 3\) or \(3,\)",
        ),
    ],
)
def test_what_does_not_fit_is_named_at_the_users_line(call, kind, message):
    x = gx.input("x", (None, T, C))
    with pytest.raises(kind, match=f"{message}(.|\\n)*test_recurrent.py"):
        call(x)
