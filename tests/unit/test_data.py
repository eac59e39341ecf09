"""Batches and what is fed: structure, shapes, data types, copies."""

import numpy as np
import pytest

import graphc as gx
from graphc.errors import ArgumentError, DTypeError, RangeError, ShapeError
from graphc.train.feeds import Data, Slot, Structure, feeds

X = np.arange(20.0).reshape(10, 2)
Y = np.arange(10)


def test_batches_are_views_with_a_short_last_one():
    found = list(gx.data.batches(X, Y, batch_size=4))
    assert [len(y) for _, y in found] == [4, 4, 2]
    assert all(np.shares_memory(x, X) for x, _ in found)
    np.testing.assert_array_equal(np.concatenate([x for x, _ in found]), X)


def test_batches_know_their_number_and_can_drop_the_last():
    assert len(gx.data.batches(X, batch_size=4)) == 3
    assert len(gx.data.batches(X, batch_size=5)) == 2
    whole = gx.data.batches(X, batch_size=4, drop_last=True)
    assert len(whole) == 2
    assert [len(x) for x in whole] == [4, 4]


def test_shuffling_keeps_rows_together_and_depends_on_the_seed_alone():
    def labels(seed):
        return np.concatenate(
            [y for _, y in gx.data.batches(X, Y, batch_size=3, shuffle=True, seed=seed)]
        )

    for x, y in gx.data.batches(X, Y, batch_size=3, shuffle=True, seed=1):
        np.testing.assert_array_equal(x[:, 0], 2 * y)
    assert sorted(labels(1)) == list(Y)
    np.testing.assert_array_equal(labels(1), labels(1))
    assert not np.array_equal(labels(1), labels(2))


def test_every_pass_of_shuffled_batches_has_its_own_order():
    once = gx.data.batches(X, Y, batch_size=10, shuffle=True, seed=0)
    first, second = (next(iter(once))[1] for _ in range(2))
    assert not np.array_equal(first, second)


def test_batches_keep_tuples_and_dicts():
    for (a, b), y in gx.data.batches((X, X[:, :1]), {"y": Y}, batch_size=5):
        assert a.shape == (5, 2)
        assert b.shape == (5, 1)
        assert y["y"].shape == (5,)


def test_batches_of_nothing():
    assert list(gx.data.batches(X[:0], Y[:0], batch_size=4)) == []


def test_batches_take_lists_memory_maps_and_strided_arrays(tmp_path):
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(6, 2))
    assert next(iter(gx.data.batches(mapped, batch_size=4))).shape == (4, 2)
    assert next(iter(gx.data.batches([[1, 2], [3, 4]], batch_size=1))).tolist() == [[1, 2]]
    strided = next(iter(gx.data.batches(X[::2, ::-1], batch_size=4)))
    np.testing.assert_array_equal(strided, X[:8:2, ::-1])


@pytest.mark.parametrize("size", [0, -1])
def test_batches_refuse_a_size_below_one(size):
    with pytest.raises(ArgumentError, match="batch_size must be at least 1"):
        gx.data.batches(X, batch_size=size)


def test_batches_refuse_what_has_no_common_rows():
    with pytest.raises(ShapeError, match=r"equally many rows, got 10, 9\n  at .*test_data.py"):
        gx.data.batches(X, Y[:9])
    with pytest.raises(ShapeError, match="scalar has no rows"):
        gx.data.batches(3.0)
    with pytest.raises(DTypeError, match="batch_size must be an integer"):
        gx.data.batches(X, batch_size=2.0)


# -- what is fed -----------------------------------------------------------------------------


def slot(shape, dtype="float32", name="x"):
    return Slot("input", gx.input(name, shape, dtype))


def test_an_array_that_fits_is_fed_as_it_is():
    value = np.zeros((4, 3), "float32")
    (fed,) = feeds([slot((None, 3))], [value])
    assert fed is value


@pytest.mark.parametrize(
    "value",
    [np.ones((4, 3)), np.ones((4, 3), ">f4"), np.ones((4, 3), "float16"), np.ones((4, 3), "uint8"),
     np.ones((3, 4), "float32").T, np.ones((8, 3), "float32")[::2], [[1] * 3] * 4,
     np.ones((4, 3), bool)],
)  # fmt: skip
def test_other_layouts_and_types_are_converted(value):
    (fed,) = feeds([slot((None, 3))], [value])
    assert fed.dtype == np.float32
    assert fed.dtype.isnative
    assert fed.flags.c_contiguous
    np.testing.assert_array_equal(fed, np.ones((4, 3)))


def test_a_scalar_stays_a_scalar():
    (fed,) = feeds([slot((), "float64")], [2])
    assert fed.shape == ()
    assert fed == 2.0


@pytest.mark.parametrize("shape", [(4, 2), (4,), (4, 3, 1), ()])
def test_a_wrong_shape_is_named(shape):
    with pytest.raises(ShapeError, match=r"'x' has shape \(None, 3\), got an array of shape "):
        feeds([slot((None, 3))], [np.ones(shape)])


def test_a_missing_or_superfluous_axis_is_explained():
    with pytest.raises(ShapeError, match=r"add an axis"):
        feeds([slot((None, 1))], [np.ones(4)])
    with pytest.raises(ShapeError, match=r"drop the last axis"):
        feeds([slot((None,))], [np.ones((4, 1))])


def test_what_cannot_be_converted_is_refused():
    with pytest.raises(DTypeError, match=r"int64, got values of type float64.*astype\(\"int64\"\)"):
        feeds([slot((None,), "int64")], [np.ones(3)])
    with pytest.raises(DTypeError, match="bool, got values of type int64"):
        feeds([slot((None,), "bool")], [[0, 1]])
    with pytest.raises(DTypeError, match="complex128"):
        feeds([slot((None,))], [np.ones(3, complex)])
    with pytest.raises(DTypeError, match=r"values of type str"):
        feeds([slot((None,))], [["a", "b"]])
    with pytest.raises(DTypeError, match="object"):
        feeds([slot((None,))], [np.array([1, None])])
    with pytest.raises(ShapeError, match="inhomogeneous shape"):
        feeds([slot((None, 2))], [[[1, 2], [3]]])
    with pytest.raises(RangeError, match="input 'x': integer 4294967296 out of bounds for int32"):
        feeds([slot((None,), "int32")], [np.array([0, 2**32])])


def test_batched_inputs_must_agree_on_the_rows():
    slots = [slot((None, 3), name="a"), slot((2,), name="fixed"), slot((None,), name="b")]
    with pytest.raises(ShapeError, match="input 'a' has 4 rows but input 'b' has 5"):
        feeds(slots, [np.ones((4, 3)), np.ones(2), np.ones(5)])


def test_data_cut_into_rows_leaves_fixed_inputs_whole():
    slots = [slot((None, 3), name="a"), slot((2,), name="fixed")]
    data = Data.of(slots, [np.ones((5, 3)), np.ones(2)])
    assert data.bounds(2) == [(0, 2), (2, 4), (4, 5)]
    part = data.between(4, 5)
    assert [a.shape for a in part.arrays] == [(1, 3), (2,)]
    assert part.rows == 1


def test_structures():
    a, b = gx.input("a", (None,)), gx.input("b", (None,))
    assert Structure("input", a).flatten(1) == (1,)
    assert Structure("input", [a, b]).flatten((1, 2)) == (1, 2)
    assert Structure("input", {"p": a, "q": b}).flatten({"q": 2, "p": 1}) == [1, 2]
    assert Structure("target", None).flatten(None) == ()


@pytest.mark.parametrize(
    ("declared", "data", "message"),
    [
        ("one", None, "no value for the input 'a'"),
        ("none", 1, "the model has no inputs"),
        ("list", [1], r"a list of 2 \(a, b\), got 1 values"),
        ("list", np.ones((2, 2)), r"a list of 2 \(a, b\), got one ndarray"),
        ("dict", [1, 2], "a dict of 'p', 'q', got one list"),
        ("dict", {"p": 1, "r": 2}, "missing 'q'; unknown 'r'"),
    ],
)
def test_data_of_another_structure_are_refused(declared, data, message):
    a, b = gx.input("a", (None,)), gx.input("b", (None,))
    tree = {"one": a, "none": None, "list": [a, b], "dict": {"p": a, "q": b}}[declared]
    with pytest.raises(ArgumentError, match=message):
        Structure("input", tree).flatten(data)
