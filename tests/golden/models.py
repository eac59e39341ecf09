"""What the golden files are generated from. Its lines stand in their comments."""

import numpy as np

import graphc as gx
from graphc import nn, optim


def mlp(rows=None, optimizer=None):
    x, y = gx.input("x", (rows, 8)), gx.input("y", (rows,), "int64")
    out = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                    metrics={"accuracy": nn.accuracy(out, y)},
                    optimizer=optimizer or optim.SGD(0.1), seed=0)  # fmt: skip


def mlp_source():
    return mlp().source


def softmax_function():
    x = gx.input("x", (None, 10))
    return gx.function(x, gx.softmax(2 * x)).source


def indexing():
    table = gx.parameter(np.zeros((7, 3), "float32"), name="table")
    rows, x = gx.input("rows", (None,), "int64"), gx.input("x", (None, 3))
    loss = gx.sum(gx.take(table, rows, axis=0) * x[:, ::-1])
    return gx.function([rows, x], {"loss": loss, "last": x[-1], "d": gx.grad(loss, table)}).source


def batched_products():
    x = gx.input("x", (None, 5, 2, 4), "float64")
    heads = gx.permute_dims(x, (0, 2, 1, 3))
    return gx.function(x, heads @ gx.matrix_transpose(heads)).source


def recurrence():
    a, x = gx.input("a", ()), gx.input("x", ("length",))
    last, ys = gx.scan(lambda c, v: (gx.tanh(a * c + v), c), gx.constant(np.float32(0)), x)
    loss = gx.sum(ys) + last
    return gx.function([a, x], {"loss": loss, "gradient": gx.grad(loss, a)}).source


def softmax_in_c():
    x = gx.input("x", (None, 10))
    return gx.function(x, gx.softmax(2 * x)).c_source
