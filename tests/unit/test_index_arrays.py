"""Several arrays in one index: NumPy's result, gradient and errors, each array on its own axis."""

import random

import numpy as np
import pytest

import graphc as gx
from graphc.ir.interpret import evaluate
from graphc.ops.gather import ScatterAdd, Take


def random_keys(seed, count):
    """Yield shapes and keys of every kind of part, most of which fit."""
    rng, numbers = random.Random(seed), np.random.default_rng(seed)
    for _ in range(count):
        shape = tuple(rng.choice([1, 2, 3, 4]) for _ in range(rng.randint(1, 4)))
        common = rng.choice([(), (1,), (2,), (2, 3)])
        key, axis = [], 0
        while axis < len(shape) and rng.random() < 0.85:
            kind, dim = rng.choice(["integer", "slice", "new", "mask", "masks", "truth", "rest",
                                    *["array"] * 3]), shape[axis]  # fmt: skip
            if kind == "integer":
                key.append(rng.randint(-dim, dim - 1))
            elif kind == "slice":
                bounds = rng.choice([None, 0, 1, -2]), rng.choice([None, 2, -1])
                key.append(slice(*bounds, rng.choice([None, 1, 2, -1])))
            elif kind == "array":
                some = tuple(rng.choice([n, 1]) for n in common)[
                    rng.choice([0, len(common) // 2]) :
                ]
                key.append(numbers.integers(-dim, dim, some))
            elif kind == "mask":
                key.append(numbers.random(dim) < 0.5)
            elif kind == "masks" and axis + 1 < len(shape):
                key.append(numbers.random(shape[axis : axis + 2]) < 0.5)
                axis += 1
            elif kind == "rest" and not any(part is Ellipsis for part in key):
                key.append(...)
                axis += rng.randint(0, len(shape) - axis) - 1
            elif kind == "truth" and rng.random() < 0.3:
                key.append(rng.random() < 0.7)
                axis -= 1
            else:
                key.append(None)
                axis -= 1
            axis += 1
        yield shape, tuple(key)


def outcome(f):
    try:
        return f(), None
    except Exception as error:
        return None, error


def test_random_keys_are_numpys():
    fits = 0
    for shape, key in random_keys(0, 1500):
        a = np.random.default_rng(0).standard_normal(shape)
        x = gx.input("x", shape, "float64")
        expected, wrong = outcome(lambda a=a, key=key: a[key])
        found, error = outcome(lambda x=x, key=key: x[key])
        assert (wrong is None) == (error is None), (shape, key, wrong, error)
        if wrong is not None:
            assert isinstance(error, type(wrong)), (shape, key)
            continue
        fits += 1
        np.testing.assert_array_equal(evaluate([found], {x: a})[found], expected, str(key))
        back = gx.grad(gx.sum(found * found), x, unconnected="zero")
        wanted = np.zeros(shape)
        np.add.at(wanted, key, 2 * expected)
        np.testing.assert_allclose(evaluate([back], {x: a})[back], wanted, err_msg=str(key))
    assert fits > 1000


def test_random_keys_compiled():
    inputs, outputs, feeds, wanted = [], [], [], []
    for number, (shape, key) in enumerate(random_keys(1, 60)):
        a = np.random.default_rng(number).standard_normal(shape)
        expected, wrong = outcome(lambda a=a, key=key: a[key])
        if wrong is not None:
            continue
        x = gx.input(f"x{number}", shape, "float64")
        parts, given = [], []
        for part in key:  # arrays of integers are fed
            if isinstance(part, np.ndarray) and part.dtype.kind == "i":
                parts.append(gx.input(f"i{number}_{len(parts)}", part.shape, "int64"))
                given.append((parts[-1], part))
            else:
                parts.append(part)
        y = x[tuple(parts)]
        back = gx.grad(gx.sum(y * y), x, unconnected="zero")
        gradient = np.zeros(shape)
        np.add.at(gradient, key, 2 * expected)
        inputs += [x, *(i for i, _ in given)]
        feeds += [a, *(value for _, value in given)]
        outputs += [y, back]
        wanted += [expected, gradient]
    found = gx.function(inputs, outputs)(*feeds)
    for number, (got, expected) in enumerate(zip(found, wanted, strict=True)):
        np.testing.assert_allclose(got, expected, err_msg=f"output {number}")


def test_each_array_is_checked_on_its_own_axis():
    x = gx.input("x", (2, 5, 3))
    i, j = gx.input("i", (None,), "int64"), gx.input("j", (None,), "int64")
    y = x[i, j]
    assert isinstance(y.op, Take)
    assert y.op.index_bounds(*(t.type for t in y.inputs)) == ((1, -2, 2), (2, -5, 5))
    g = gx.grad(gx.sum(y * y), x)
    assert isinstance(g.op, ScatterAdd)
    assert g.op.index_bounds(*(t.type for t in g.inputs)) == ((1, -2, 2), (2, -5, 5))
    f = gx.function([x, i, j], [y, g])
    a = np.arange(30.0, dtype="float32").reshape(2, 5, 3)
    rows, columns = np.array([1, -2, 0]), np.array([-5, 4, 4])
    wanted = np.zeros_like(a)
    np.add.at(wanted, (rows, columns), 2 * a[rows, columns])
    got, back = f(a, rows, columns)
    np.testing.assert_array_equal(got, a[rows, columns])
    np.testing.assert_array_equal(back, wanted)
    # inside the flattened pair of axes, and inside the other axis, but not inside its own
    for bad_rows, bad_columns, name in (
        ([4, 0], [0, 0], "i"), ([-3, 0], [4, 0], "i"), ([0, 0], [5, 0], "j"),
        ([1, 0], [-6, 0], "j"),
    ):  # fmt: skip
        with pytest.raises(IndexError, match=f"in {name}: int64"):
            f(a, bad_rows, bad_columns)


def test_computed_indices_are_checked():
    x, i = gx.input("x", (2, 5)), gx.input("i", (3,), "int64")
    f = gx.function([x, i], x[i // 2, i + 1])
    a = np.arange(10.0, dtype="float32").reshape(2, 5)
    np.testing.assert_array_equal(f(a, [0, 1, 3]), a[[0, 0, 1], [1, 2, 4]])
    for bad in ([0, 1, 4], [-5, 0, 0]):
        with pytest.raises(IndexError):
            f(a, bad)


def test_the_batch_among_the_axes_and_the_indices():
    x, i = gx.input("x", (None, 4, 3)), gx.input("i", (None,), "int64")
    j = gx.input("j", (2, 1), "int32")
    f = gx.function([x, i, j], [x[i, j], x[:, j, 1], x[i, :, [0]], x[j, i[:2] % 4]])
    for rows in (2, 3, 7):
        a = np.random.default_rng(0).standard_normal((rows, 4, 3)).astype("float32")
        where, more = np.arange(rows)[::-1] % rows, np.array([[-1], [1]])
        wanted = a[where, more], a[:, more, 1], a[where, :, [0]], a[more, where[:2] % 4]
        for got, values in zip(f(a, where, more), wanted, strict=True):
            np.testing.assert_array_equal(got, values)


def test_known_masks():
    x = gx.input("x", (3, 4))
    a = np.arange(12.0, dtype="float32").reshape(3, 4)
    rows, all_ = np.array([True, False, True]), a % 3 == 0
    for mask in (rows, list(rows), gx.constant(rows), all_, gx.constant(all_), np.bool_(True)):
        key = mask.op.numpy() if isinstance(mask, gx.Tensor) else mask
        y = x[mask]
        np.testing.assert_array_equal(gx.function(x, y)(a), a[np.asarray(key)])
        g = gx.function(x, gx.grad(gx.sum(y * y), x))(a)
        wanted = np.zeros_like(a)
        wanted[np.asarray(key)] = 2 * a[np.asarray(key)]
        np.testing.assert_array_equal(g, wanted)
    with pytest.raises(TypeError, match="depends on the data"):
        x[x > 3]
    with pytest.raises(IndexError, match="size of axis is None"):
        gx.input("b", (None, 4))[rows]


def test_gradients_of_repeated_places_add_up_in_training():
    table = gx.parameter(np.zeros((3, 4), "float32"), name="table")
    i, j = gx.input("i", (None,), "int64"), gx.input("j", (None,), "int64")
    y = table[i, j]
    model = gx.Model(inputs=[i, j], outputs=y, loss=-gx.sum(y), optimizer=gx.optim.SGD(1.0))
    model.train_step([np.array([0, 0, 2, -1]), np.array([1, -3, 3, 3])])
    wanted = np.zeros((3, 4))
    wanted[0, 1] = wanted[2, 3] = 2
    np.testing.assert_array_equal(model.parameters["table"], wanted)


def test_jax_agrees():
    jax = pytest.importorskip("jax")
    a = np.random.default_rng(0).standard_normal((3, 4, 5)).astype("float32")
    rows, columns = np.array([[0], [2]]), np.array([1, 1, -1])
    x = gx.input("x", (3, 4, 5))

    def loss(library, value, key):
        return library.sum(library.sin(value[key]) * library.exp(value[key]))

    for key in ((rows, columns), (rows, slice(None), columns), (slice(None), rows, columns),
                (None, rows, ..., columns), (rows, 1, columns)):  # fmt: skip
        ours = gx.function(x, gx.grad(loss(gx, x, key), x))(a)
        theirs = jax.grad(lambda v, key=key: loss(jax.numpy, v, key))(a)
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=1e-6)
