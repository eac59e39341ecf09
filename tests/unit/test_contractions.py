"""Products over groups of axes: lanes along columns, rows and depth; runs of depth; shares."""

import itertools

import numpy as np
import pytest

from graphc.emit import products, shape
from graphc.emit.shape import DEPTH
from graphc.ir.source import aligned_empty
from tests.kernels import Compiled
from tests.unit.test_gemm import ISAS, TOLERANCE

CASES = {
    # rows, columns, depth; lengths of the axes around and of those of depth
    "windows of one channel": (28, 6, 5, (3, 9), (5,)),
    "windows of three": (17, 32, 9, (2, 5), (3,)),
    "few columns": (14, 6, 80, (2, 3), (5,)),
    "two columns": (9, 2, 70, (2,), (3,)),
    "few columns and many short runs": (5, 6, 28, (5,), (7, 45)),
    "few columns and more runs than a table has": (3, 3, 17, (2,), (9, 40)),
    "more steps in a run than a panel has": (30, 20, DEPTH + 44, (2,), (2,)),
    "few columns and long runs": (7, 5, 3 * DEPTH + 5, (2,), (2,)),
    "a sum over an image": (12, 16, 14, (3,), (6, 14)),
    "one step in a run": (6, 18, 1, (2,), (3, 5)),
    "one of all": (1, 1, 4, (2, 2), (2,)),
    "no depth": (5, 7, 4, (2,), (0,)),
    "no rows": (0, 7, 4, (2,), (2,)),
    "wide and deep": (60, 300, 40, (2,), (9,)),
}


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setattr(shape, "TARGET", ISAS[request.param])
    return request.param


def compiled(dtype):
    made = Compiled(getattr(products, f"contract_{dtype}"))
    size = shape.scratch_bytes()
    scratch = aligned_empty(size + 4096)
    scratch[size:] = 0xA5

    def call(lo, hi, *args):
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
        made(lo, hi, *words, scratch=scratch.ctypes.data)
        assert (scratch[size:] == 0xA5).all(), "written behind the scratch"

    return call


def operand(rng, dtype, lengths, order):
    """Return an array with axes of these lengths that lie in this order, with NaN around it."""
    room = np.full([lengths[x] for x in order] + [1], np.nan, dtype)
    values = rng.standard_normal([lengths[x] for x in order])
    room = np.full((values.size + 200,), np.nan, dtype)
    view = room[100 : 100 + values.size].reshape(values.shape)
    view[...] = values
    return np.transpose(view, np.argsort(order))


def problem(rng, dtype, case, order, shared):
    """Return the operands, C and the arguments of the kernel for it."""
    m, n, k, around, depth = CASES[case]
    a = operand(rng, dtype, (*around, m, *depth, k), order["a"](len(around), len(depth)))
    lead = () if shared else around
    b = operand(rng, dtype, (*lead, *depth, k, n), order["b"](len(lead), len(depth)))
    c = np.full((int(np.prod(around)) * m, n + 3), 7.0, dtype)

    def steps(x):
        return [s // x.itemsize for s in x.strides]

    e, t = len(around), len(depth)
    sa, sb = steps(a), steps(b)
    b_e = [0] * e if shared else sb[:e]
    sb = sb[len(lead) :]
    loops = [[1, 0, 0]] * (3 - e) + [list(x) for x in zip(around, sa[:e], b_e, strict=True)]
    loops += [[1, 0, 0]]
    loops += [[1, 0, 0]] * (3 - t)
    loops += [list(x) for x in zip(depth, sa[e + 1 : e + 1 + t], sb[:t], strict=True)]
    flat = list(itertools.chain(*loops))
    arguments = (
        m, n, k, a, sa[e], sa[-1], b, sb[-2], sb[-1], c[:, 2:], c.shape[1], *flat
    )  # fmt: skip
    letters = "defghijk"
    left, right = letters[:e], letters[e : e + t]
    equation = f"{left}m{right}k,{'' if shared else left}{right}kn->{left}mn"
    expected = c.astype(float)
    expected[:, 2 : n + 2] = np.einsum(equation, a.astype(float), b.astype(float)).reshape(-1, n)
    return arguments, c, expected


ORDERS = {
    "rows": {
        "a": lambda e, t: tuple(range(e + t + 2)),
        "b": lambda e, t: tuple(range(e + t + 2)),
    },
    "columns": {  # rows of A are neighbours, and so are steps of B
        "a": lambda e, t: (*range(e), *range(e + 1, e + t + 2), e),
        "b": lambda e, t: (*range(e + t), e + t + 1, e + t),
    },
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_every_way_gives_the_sum(case, dtype, isa):
    rng = np.random.default_rng(0)
    run = compiled(dtype)
    for (a, b), shared in itertools.product(itertools.product(ORDERS, repeat=2), (False, True)):
        order = {"a": ORDERS[a]["a"], "b": ORDERS[b]["b"]}
        arguments, c, expected = problem(rng, dtype, case, order, shared)
        rows = len(c)
        run(0, rows, *arguments)
        _, n, k, _, depth = CASES[case]
        bound = TOLERANCE[dtype] * (k * int(np.prod(depth)) + 1)
        np.testing.assert_allclose(c, expected, rtol=0, atol=bound, err_msg=f"{a} {b} {shared}")
        whole = c.copy()
        c[:, 2 : n + 2] = 0
        cuts = sorted({0, rows, *map(int, rng.integers(0, rows + 1, 3))})
        for lo, hi in itertools.pairwise(cuts):
            run(lo, hi, *arguments)
        np.testing.assert_array_equal(c, whole, err_msg=f"shares of {a} {b} {shared}")


def test_plain_python_computes_the_same():
    rng = np.random.default_rng(0)
    run = products.contract_float64.function
    for case in CASES:
        arguments, c, expected = problem(rng, "float64", case, ORDERS["rows"], True)
        flat = [
            np.lib.stride_tricks.as_strided(x, (2 * x.size + 50,), (x.itemsize,))
            if isinstance(x, np.ndarray)
            else x
            for x in arguments
        ]
        run(0, len(c), *flat)
        np.testing.assert_allclose(c, expected, rtol=0, atol=1e-9, err_msg=case)
