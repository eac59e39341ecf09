"""Layers: values, sharing, names, scopes, errors."""

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.ir.graph import Graph
from graphc.ir.interpret import evaluate
from graphc.ir.naming import scope_names


def run(output, feeds):
    return evaluate([output], feeds)[output]


def array(parameter):
    return parameter.op.cell.array


def test_linear_is_x_at_weight_plus_bias():
    x = gx.input("x", (None, 3))
    layer = nn.Linear(3, 5)
    X = np.random.default_rng(0).standard_normal((4, 3), dtype="float32")
    assert layer.weight.shape == (3, 5)
    assert layer.bias.shape == (5,)
    np.testing.assert_array_equal(
        run(layer(x), {x: X}), X @ array(layer.weight) + array(layer.bias)
    )


def test_linear_without_bias_on_many_axes():
    x = gx.input("x", (None, 2, 3), dtype="float64")
    layer = nn.Linear(3, 5, bias=False, weight_init=nn.init.ones, dtype="float64")
    assert layer.bias is None
    assert len(layer.parameters) == 1
    out = layer(x)
    assert out.shape == (None, 2, 5)
    assert (run(out, {x: np.ones((4, 2, 3))}) == 3).all()


def test_linear_starts_as_pytorch_does():
    layer = nn.Linear(400, 300)
    for parameter in layer.parameters:
        values = array(parameter)
        assert 0.98 / 20 < np.abs(values).max() <= 1 / 20
        assert abs(values.mean()) < 0.01


def test_linear_without_inputs_is_its_bias():
    x = gx.input("x", (None, 0))
    layer = nn.Linear(0, 2, bias_init=nn.init.ones)
    assert run(layer(x), {x: np.zeros((3, 0), "float32")}).tolist() == [[1, 1]] * 3


@pytest.mark.parametrize("shape", [(None, 4), (), (3, None)[::-1]])
def test_linear_names_a_wrong_shape_and_the_line(shape):
    x = gx.input("pixels", shape)
    if shape and shape[-1] == 3:
        nn.Linear(3, 5)(x)
        return
    with pytest.raises(ValueError, match=r"pixels") as error:
        nn.Linear(3, 5)(x)
    assert "(3, 5)" in str(error.value)
    assert "test_nn_layers.py:" in str(error.value)


def test_bad_arguments():
    with pytest.raises(TypeError, match="in_features must be an integer"):
        nn.Linear(2.5, 3)
    with pytest.raises(ValueError, match="out_features must not be negative"):
        nn.Linear(2, -3)
    with pytest.raises(TypeError, match="symbolic"):
        nn.Linear(2, 3)(np.ones((4, 2)))
    with pytest.raises(TypeError, match="not callable"):
        nn.Sequential([nn.Linear(2, 3)])
    with pytest.raises(TypeError, match="name"):
        nn.Linear(2, 3, name="a#b")


def test_sequential_is_a_list_of_callables():
    double = lambda x: x * 2.0  # noqa: E731
    net = nn.Sequential(nn.Linear(2, 3), double)
    assert net.append(nn.ReLU()) is net
    assert len(net) == 3
    assert net[1] is double
    assert list(net)[1] is double
    assert isinstance(net[:2], nn.Sequential)
    assert len(net[:2]) == 2
    assert net.parameters == net[0].parameters
    x = gx.input("x", (None, 2))
    X = np.random.default_rng(0).standard_normal((4, 2), dtype="float32")
    expected = np.maximum((X @ array(net[0].weight) + array(net[0].bias)) * 2, 0)
    np.testing.assert_allclose(run(net(x), {x: X}), expected, rtol=1e-6)


def test_flatten():
    x = gx.input("x", (None, 2, 3, 4))
    assert nn.Flatten()(x).shape == (None, 24)
    assert nn.Flatten(2)(x).shape == (None, 2, 12)
    assert nn.Flatten(0)(gx.input("y", (2, 3))).shape == (6,)


ACTIVATIONS = [
    (nn.ReLU(), "relu", ()), (nn.ReLU6(), "relu6", ()),
    (nn.LeakyReLU(0.2), "leaky_relu", (0.2,)), (nn.ELU(0.5), "elu", (0.5,)),
    (nn.SELU(), "selu", ()), (nn.CELU(0.5), "celu", (0.5,)),
    (nn.GELU(), "gelu", ("none",)), (nn.GELU("tanh"), "gelu", ("tanh",)),
    (nn.SiLU(), "silu", ()), (nn.Mish(), "mish", ()), (nn.HardSwish(), "hardswish", ()),
    (nn.Softplus(), "softplus", ()), (nn.Softsign(), "softsign", ()),
    (nn.Sigmoid(), "sigmoid", ()), (nn.HardSigmoid(), "hardsigmoid", ()),
    (nn.LogSigmoid(), "logsigmoid", ()), (nn.Tanh(), "tanh", ()),
    (nn.Softmax(0), "softmax", (0,)), (nn.Softmax(), "softmax", (-1,)),
    (nn.LogSoftmax(), "log_softmax", (-1,)),
    (nn.Hardshrink(1.0), "hardshrink", (1.0,)), (nn.Softshrink(0.3), "softshrink", (0.3,)),
    (nn.Tanhshrink(), "tanhshrink", ()), (nn.Threshold(0.1, 20.0), "threshold", (0.1, 20.0)),
    (nn.GLU(0), "glu", (0,)),
]  # fmt: skip


@pytest.mark.parametrize(("layer", "name", "options"), ACTIVATIONS)
def test_activations_are_those_of_pytorch(layer, name, options):
    torch = pytest.importorskip("torch")
    X = np.random.default_rng(0).standard_normal((6, 7)) * 4
    function = getattr(torch.nn.functional, name)
    t = torch.tensor(X)
    if name == "gelu":
        expected = function(t, approximate=options[0])
    elif name in ("elu", "celu"):
        expected = function(t, alpha=options[0])
    else:
        expected = function(t, *options)
    x = gx.input("x", X.shape, dtype="float64")
    np.testing.assert_allclose(run(layer(x), {x: X}), expected.numpy(), rtol=1e-12, atol=1e-14)


def test_prelu_trains_a_weight_for_each_channel():
    x = gx.input("x", (None, 3), dtype="float64")
    layer = nn.PReLU(3, 0.1, dtype="float64")
    model = gx.Model(inputs=x, outputs=layer(x), loss=gx.sum(layer(x)), optimizer=optim.SGD(1.0))
    model.train_step(np.array([[1.0, -2.0, -3.0]]))
    np.testing.assert_allclose(model.parameters["p_relu_0.weight"], [0.1, 2.1, 3.1])


def test_names_are_numbered_within_a_model():
    for _ in range(2):
        x = gx.input("x", (None, 2))
        net = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 3, name="middle"),
                            nn.LeakyReLU(), nn.Linear(3, 1))  # fmt: skip
        scale = gx.parameter(1.0)
        shift = gx.parameter(1.0, name="shift")
        graph = Graph([x], {"out": net(x) * scale + shift})
        expected = ["linear_0.weight", "linear_0.bias", "middle.weight", "middle.bias",
                    "linear_1.weight", "linear_1.bias", "parameter_0", "shift"]  # fmt: skip
        assert list(nn.parameter_names(graph.parameters).values()) == expected
        assert [graph.keys[p] for p in graph.parameters] == expected
        clusters = {scope for _, scope in graph.dag.nodes(data="scope") if scope}
        assert clusters == {("linear_0",), ("tanh_0",), ("middle",), ("leaky_relu_0",),
                            ("linear_1",)}  # fmt: skip


def test_a_layer_called_twice_shares_its_parameters():
    x = gx.input("x", (None, 3))
    layer = nn.Linear(3, 3)
    graph = Graph([x], {"out": layer(layer(x))})
    assert len(graph.parameters) == 2
    grads = gx.grad((layer(layer(x)) * 1.0).sum(), [layer.weight, layer.bias])
    assert [g.shape for g in grads] == [(3, 3), (3,)]


def test_equal_names_get_a_suffix():
    a, b = nn.Linear(2, 2, name="same"), nn.Linear(2, 2, name="same")
    c, d = gx.parameter(1.0, name="w"), gx.parameter(1.0, name="w")
    names = nn.parameter_names([*a.parameters, *b.parameters, c, d])
    assert list(names.values()) == ["same.weight", "same.bias", "same.weight_1", "same.bias_1",
                                    "w", "w_1"]  # fmt: skip


def test_a_users_name_is_not_taken_by_a_number():
    a, b = nn.Linear(2, 2), nn.Linear(2, 2, name="linear_0")
    names = scope_names([*a.parameters, *b.parameters])
    assert names[a.scope] == "linear_1"
    assert names[b.scope] == "linear_0"


def test_a_layer_of_ones_own():
    class Scale(nn.Layer):
        def __init__(self, size):
            super().__init__()
            self.gain = self.parameter("gain", nn.init.ones, (size,))

        def forward(self, x):
            return x * self.gain

    x = gx.input("x", (None, 3))
    graph = Graph([x], {"out": Scale(3)(Scale(3)(x))})
    assert [graph.keys[p] for p in graph.parameters] == ["scale_0.gain", "scale_1.gain"]


class Block(nn.Layer):
    """A layer of layers, two of which it makes itself."""

    def __init__(self, size, given, **options):
        super().__init__(**options)
        self.first, self.second, self.given = nn.Linear(size, size), nn.Linear(size, size), given

    def forward(self, x):
        return self.given(self.second(gx.tanh(self.first(x))))


def test_layers_inside_layers_have_nested_names():
    x = gx.input("x", (None, 3))
    shared = nn.Linear(3, 3)
    net = nn.Sequential(Block(3, shared), Block(3, shared, name="head"), nn.Linear(3, 3))
    graph = Graph([x], {"out": net(x)})
    names = [graph.keys[p] for p in graph.parameters]
    assert sorted(names) == sorted(
        f"{layer}.{kind}"
        for layer in ("block_0.linear_0", "block_0.linear_1", "head.linear_0", "head.linear_1",
                      "linear_0", "linear_1")
        for kind in ("weight", "bias")
    )  # fmt: skip


def test_a_layer_has_the_parameters_of_its_parts():
    block = Block(3, nn.Sequential(nn.Linear(3, 3), nn.ReLU()))
    assert len(block.parameters) == 6
    assert set(block.first.parameters) < set(block.parameters)
    assert nn.Add(block, nn.Identity()).parameters == block.parameters


def test_a_layer_that_cannot_be_made_leaves_no_trace():
    with pytest.raises(ValueError, match="in_features"):
        Block(-1, None)
    x = gx.input("x", (None, 3))
    graph = Graph([x], {"out": nn.Linear(3, 3)(x)})
    assert [graph.keys[p] for p in graph.parameters] == ["linear_0.weight", "linear_0.bias"]


def test_a_layer_that_is_not_trained_freezes_its_parts():
    given = nn.Linear(3, 3)
    block = Block(3, given, trainable=False)
    assert block.parameters == given.parameters  # made elsewhere
    assert not block.first.trainable
    assert nn.Linear(3, 3).trainable
