"""Matrix products: every shape, stride and vector width, and nothing touched beyond the arrays."""

import ctypes
import functools
import itertools
import math
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest

import graphc as gx
from graphc.codegen.product import COLUMNS, PIECES, SUM, UPDATE
from graphc.emit import products, shape
from graphc.emit.tiles.driver import AUTO, FLIP, PLAIN
from graphc.ir.source import aligned_empty
from graphc.machine import known
from graphc.machine.isa import AVX2, AVX512, BASELINE, NEON, isa_of
from tests.kernels import Compiled, assembly

ISAS = {"host": known().isa, "avx2": AVX2, "neon": NEON}
SIZES = [0, 1, 2, 3, 5, 7, 8, 9, 12, 13, 16, 17, 24, 31, 33, 47, 48, 50, 65]
TOLERANCE = {"float32": 3e-5, "float64": 1e-12}
KERNELS = {"gemm": "matmul", "gemv": "matvec"}


@pytest.fixture(params=ISAS)
def isa(request, monkeypatch):
    monkeypatch.setattr(shape, "TARGET", ISAS[request.param])
    return request.param


@functools.cache
def compiled(name, dtype, isa, caches="host"):
    """Return the machine code of a kernel as a function of integers and arrays.

    The test says on which machine: ``isa`` and ``caches`` only tell the results apart.
    """
    assert ISAS[isa] == shape.TARGET
    kernel = getattr(products, f"{KERNELS[name]}_{dtype}")
    made = Compiled(kernel)
    size = shape.scratch_bytes()
    scratch = aligned_empty(size + 4096)
    scratch[size:] = 0xA5

    def call(lo, hi, *args):
        words = [a.ctypes.data if isinstance(a, np.ndarray) else a for a in args]
        made(lo, hi, *words, scratch=scratch.ctypes.data)
        assert (scratch[size:] == 0xA5).all(), "written behind the scratch"

    call.assembly = lambda: assembly(kernel)
    return call


def plain(name):
    """Return a kernel as plain Python: a pointer is a flat array from the address on."""
    function = getattr(products, f"{KERNELS[name]}_float64").function

    def flat(value):
        if not isinstance(value, np.ndarray):
            return value
        extent = sum((n - 1) * s for n, s in zip(value.shape, value.strides, strict=True))
        size = extent // value.itemsize + 1 if value.size else 0
        return np.lib.stride_tricks.as_strided(value, (size,), (value.itemsize,))

    return lambda *args: function(*map(flat, args))


def steps(array):
    return [s // array.itemsize for s in array.strides]


def operand(rng, shape, dtype, layout):
    """Return a random array: rows contiguous, columns contiguous, or neither; NaN around it."""
    *batch, m, n = shape
    if layout == "columns":
        return np.swapaxes(operand(rng, (*batch, n, m), dtype, "rows"), -1, -2)
    gap = 2 if layout == "gaps" else 1
    room = np.full((*batch, m + 2, (n + 3) * gap), np.nan, dtype)
    view = room[..., 1 : m + 1, 2 * gap : (n + 2) * gap : gap]
    view[...] = rng.standard_normal(shape)
    return view


def multiply(run, a, b, c, form=PLAIN, span=None):
    """Call gemm for arrays (batch, rows, columns)."""
    batch, m, n = c.shape
    lo, hi = span or (0, n if form & COLUMNS else batch * m)
    run(lo, hi, m, n, a.shape[2], form, a, *steps(a), b, *steps(b), c, *steps(c)[:2])


def check(run, rng, dtype, shape, layouts=("rows", "rows"), form=PLAIN):
    """Compare part of a product with NumPy's, in double precision; nothing else may change."""
    batch, m, n, k = shape
    a = operand(rng, (batch, m, k), dtype, layouts[0])
    b = operand(rng, (batch, k, n), dtype, layouts[1])
    room = np.full((batch, m + 2, n + 5), 7.0, dtype)
    c = room[:, 1 : m + 1, 2 : n + 2]
    c[...] = rng.standard_normal(c.shape)
    extent = n if form & COLUMNS else batch * m
    lo, hi = map(int, sorted(rng.integers(0, extent + 1, 2)) if rng.integers(2) else (0, extent))
    mask = (np.arange(extent) >= lo) & (np.arange(extent) < hi)
    mask = mask if form & COLUMNS else mask.reshape(batch, m, 1)
    expected = room.astype(float)
    expected[:, 1 : m + 1, 2 : n + 2] = np.where(mask, a.astype(float) @ b.astype(float), c)
    multiply(run, a, b, c, form, (lo, hi))
    bound = TOLERANCE[dtype] * (k + 1)
    np.testing.assert_allclose(room, expected, rtol=0, atol=bound, err_msg=f"{shape} {layouts}")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_shapes_strides_and_parts(dtype, isa):
    rng = np.random.default_rng(0)
    run = compiled("gemm", dtype, isa)
    for _ in range(500):
        shape = (int(rng.integers(1, 4)), *map(int, rng.choice(SIZES, 3)))
        layouts = tuple(rng.choice(["rows", "columns", "gaps"], 2))
        form = int(rng.choice([AUTO, PLAIN, FLIP]))
        if rng.integers(2):
            shape, form = (1, *shape[1:]), form | COLUMNS
        check(run, rng, dtype, shape, layouts, form)


@pytest.mark.parametrize("form", [PLAIN, FLIP, AUTO | COLUMNS])
@pytest.mark.parametrize(
    "shape",
    [
        (1, 30, 40, 2100),
        (1, 600, 50, 40),
        (1, 120, 700, 1200),
        (1, 61, 331, 640),
        (1, 53, 257, 300),
        (1, 131, 270, 180),
        (2, 300, 65, 3100),
    ],
)
def test_pieces_for_the_caches(shape, form, isa, machine):
    machine("l2=512K")
    rng = np.random.default_rng(1)
    if form & COLUMNS:
        shape = (1, *shape[1:])
    run = compiled("gemm", "float32", isa, caches="l2=512K")
    for layouts in itertools.product(["rows", "columns"], repeat=2):
        check(run, rng, "float32", shape, layouts, form)


@pytest.mark.parametrize("tiles", [1 / 100, 2, 2.1, 3])
def test_a_last_block_of_few_rows_copies_its_panels_first(tiles, machine):
    machine("l2=512K")
    high = shape.high(4)
    tall, left = -(-shape.rows(4) // high) * high, math.ceil(tiles * high)
    blocks = tall // high
    m = (blocks - 1) * tall + left
    assert -(-m // blocks) > tall - high  # even blocks are as tall as possible but the last
    k = shape.large(4) // 400 + 1
    a = np.random.default_rng(7).standard_normal((1, m, k)).astype("float32")
    b = np.random.default_rng(8).standard_normal((1, k, 400)).astype("float32")
    c = np.empty((1, m, 400), "float32")
    multiply(compiled("gemm", "float32", "host", caches="l2=512K"), a, b, c)
    np.testing.assert_allclose(c[0, -60:], a[0, -60:] @ b[0], rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_number_of_rows_and_columns(dtype, isa):
    rng = np.random.default_rng(9)
    run = compiled("gemm", dtype, isa)
    for m in range(1, 51):
        for n in (1, 10, 16, 17, 32, 40):
            check(run, rng, dtype, (1, m, n, 5))


@pytest.mark.parametrize("layouts", [("rows", "rows"), ("rows", "columns"), ("columns", "rows")])
@pytest.mark.parametrize(
    "size",
    [(37, 10, 700), (50, 10, 300), (50, 10, 30), (70, 45, 33), (101, 640, 700), (10, 300, 520)],
)
def test_bits_depend_neither_on_form_nor_on_parts(size, layouts, isa):
    rng = np.random.default_rng(6)
    m, n, k = size
    run = compiled("gemm", "float32", isa)
    a = operand(rng, (1, m, k), "float32", layouts[0])
    b = operand(rng, (1, k, n), "float32", layouts[1])
    expected = np.empty((1, m, n), "float32")
    multiply(run, a, b, expected)
    for form in (AUTO, PLAIN, FLIP):
        for way in (0, COLUMNS):
            for parts in (1, 2, 3, 5):
                c = np.full_like(expected, np.nan)
                ends = np.linspace(0, n if way else m, parts + 1).astype(int).tolist()
                for span in itertools.pairwise(ends):
                    multiply(run, a, b, c, form | way, span)
                assert (c == expected).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_side_of_one(dtype, isa):
    rng = np.random.default_rng(10)
    run = compiled("gemm", dtype, isa)
    for long, (one, other) in itertools.product([1, 3, 16, 37, 128, 300], [(0, 1), (0, 2), (1, 2)]):
        for short in (1, 10, 90):
            shape = [1, 1, 1]
            shape[one], shape[other] = short, long
            for layouts in itertools.product(["rows", "columns", "gaps"], repeat=2):
                check(run, rng, dtype, (1, *shape), layouts, AUTO | COLUMNS)
                check(run, rng, dtype, (3, *shape), layouts, AUTO)


@pytest.mark.parametrize("size", [(1, 100, 700), (100, 1, 700), (100, 70, 1), (1, 1, 40)])
def test_bits_of_a_side_of_one_do_not_depend_on_parts(size, isa):
    rng = np.random.default_rng(11)
    m, n, k = size
    run = compiled("gemm", "float32", isa)
    for layouts in itertools.product(["rows", "columns"], repeat=2):
        a = operand(rng, (1, m, k), "float32", layouts[0])
        b = operand(rng, (1, k, n), "float32", layouts[1])
        expected, c = np.empty((1, m, n), "float32"), np.empty((1, m, n), "float32")
        multiply(run, a, b, expected, AUTO)
        for way, extent in ((0, m), (COLUMNS, n)):
            for cut in range(extent + 1):
                c.fill(np.nan)
                multiply(run, a, b, c, way, (0, cut))
                multiply(run, a, b, c, way, (cut, extent))
                assert (c == expected).all()


@pytest.mark.parametrize("m", [1, 2, 20])
def test_pieces_of_k_add_up_as_planes_do(m, isa):
    rng = np.random.default_rng(12)
    pieces, steps, n = 4, 100, 70
    run = compiled("gemm", "float32", isa)
    a = operand(rng, (m, pieces * steps), "float32", "rows")
    b = operand(rng, (pieces * steps, n), "float32", "rows")
    at_once, planes = np.empty((1, m, n), "float32"), np.empty((pieces, m, n), "float32")
    multiply(run, a[None], b[None], at_once, pieces << PIECES)
    parts = np.lib.stride_tricks.as_strided(
        a, (pieces, m, steps), (steps * a.itemsize, *a.strides), writeable=False
    )
    multiply(run, parts, np.array(b).reshape(pieces, steps, n), planes, AUTO)
    total = np.empty((m, n), "float32")
    run(0, m, m, n, pieces, SUM, planes, m * n, n, 1, planes, 0, 0, 0, total, 0, n)
    assert (total == at_once[0]).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ten_columns(dtype, isa):
    rng = np.random.default_rng(13)
    run = compiled("gemm", dtype, isa)
    for m in (2, 8, 16, 23, 32, 49):
        for k in (1, 4, 15, 16, 17, 40, 63, 64, 512, 513):
            for layouts in itertools.product(["rows", "columns", "gaps"], repeat=2):
                check(run, rng, dtype, (2, m, 10, k), layouts, AUTO)
                check(run, rng, dtype, (1, m, 10, k), layouts, AUTO | COLUMNS)


def test_plain_python():
    rng = np.random.default_rng(2)
    for _ in range(60):
        shape = (int(rng.integers(1, 3)), *map(int, rng.choice(SIZES, 3)))
        layouts = tuple(rng.choice(["rows", "columns", "gaps"], 2))
        if rng.integers(2):
            check(plain("gemm"), rng, "float64", (1, *shape[1:]), layouts, AUTO | COLUMNS)
        else:
            check(plain("gemm"), rng, "float64", shape, layouts, AUTO)


def test_runs_without_jit():
    script = (
        "import numpy as np\n"
        "from graphc.emit.products import matmul_float64 as gemm, matvec_float64 as gemv\n"
        "a = np.arange(12.0); c = np.zeros(9)\n"
        "for form in (0, 4):\n"
        "    gemm(0, 3, 3, 3, 4, form, a, 0, 4, 1, a, 0, 3, 1, c, 0, 3)\n"
        "    assert (c.reshape(3, 3) == a.reshape(3, 4) @ a.reshape(4, 3)).all()\n"
        "gemv(0, 3, 4, a, 4, 1, a, 1, c, 1)\n"
        "assert (c[:3] == a.reshape(3, 4) @ a[:4]).all()\n"
    )
    environment = dict(os.environ, NUMBA_DISABLE_JIT="1")
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)


class Fence:
    """Memory between two pages that must not be touched: an access there ends the process."""

    def __init__(self, size):
        page = mmap.PAGESIZE
        self.room = -(-size // page) * page
        self.map = mmap.mmap(-1, self.room + 2 * page)
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.map))
        libc = ctypes.CDLL(None, use_errno=True)
        for address in (self.start, self.start + page + self.room):
            assert libc.mprotect(ctypes.c_void_p(address), page, 0) == 0

    def array(self, shape, dtype, at_end):
        count = int(np.prod(shape))
        size = count * np.dtype(dtype).itemsize
        offset = mmap.PAGESIZE + (self.room - size if at_end else 0)
        return np.frombuffer(self.map, dtype, count, offset).reshape(shape)


@pytest.mark.skipif(sys.platform == "win32", reason="needs mprotect")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nothing_is_touched_outside_the_arrays(dtype, isa):
    rng = np.random.default_rng(3)
    fences = [Fence(70 * 70 * 8) for _ in range(3)]
    run = compiled("gemm", dtype, isa)
    for i in range(200):
        m, n, k = map(int, rng.choice(SIZES[1:], 3))
        n = n if i % 4 else 10
        at_end = bool(rng.integers(2))
        turned = rng.integers(2, size=2)
        shapes = [(k, m) if turned[0] else (m, k), (n, k) if turned[1] else (k, n), (m, n)]
        a, b, c = (f.array(s, dtype, at_end) for f, s in zip(fences, shapes, strict=True))
        for x in (a, b, c):
            x[...] = rng.standard_normal(x.shape)
        a, b = (x.T if t else x for x, t in zip((a, b), turned, strict=True))
        expected = a.astype(float) @ b
        form = int(rng.choice([PLAIN, FLIP, AUTO])) | int(rng.choice([0, COLUMNS]))
        multiply(run, a[None], b[None], c[None], form)
        np.testing.assert_allclose(c, expected, rtol=0, atol=TOLERANCE[dtype] * (k + 1))


@pytest.mark.parametrize(("form", "n"), [(PLAIN, 37), (FLIP, 37), (AUTO, 10)])
def test_nan_and_infinity_reach_exactly_their_rows_and_columns(form, n):
    rng = np.random.default_rng(4)
    a = rng.standard_normal((1, 37, 37)).astype("float32")
    b = rng.standard_normal((1, 37, n)).astype("float32")
    a[0, 5, 9], b[0, 3, 7] = np.nan, np.inf
    c = np.zeros((1, 37, n), "float32")
    multiply(compiled("gemm", "float32", "host"), a, b, c, form=form)
    bad = np.zeros((37, n), bool)
    bad[5, :] = bad[:, 7] = True
    assert (~np.isfinite(c[0]) == bad).all()
    assert np.isnan(c[0, 5]).all()
    assert np.isinf(np.delete(c[0, :, 7], 5)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("source", ["compiled", "plain"])
def test_matrix_times_vector(source, dtype):
    rng = np.random.default_rng(5)
    run = compiled("gemv", dtype, "host") if source == "compiled" else plain("gemv")
    for m, k in [(1, 1), (5, 0), (0, 3), (7, 9), (33, 64), (100, 17), (3, 300), (2500, 6)]:
        for layout in ("rows", "columns", "gaps"):
            for gap in (1, 3):
                a = operand(rng, (m, k), dtype, layout)
                x = operand(rng, (k, 1), dtype, rng.choice(["rows", "columns"]))[:, 0]
                y = rng.standard_normal((m, gap)).astype(dtype)
                before, lo, hi = y.copy(), *sorted(map(int, rng.integers(0, m + 1, 2)))
                run(lo, hi, k, a, *steps(a), x, *steps(x), y[:, 0], gap)
                expected = before.astype(float)
                expected[lo:hi, 0] = (a.astype(float) @ x)[lo:hi]
                np.testing.assert_allclose(y, expected, rtol=0, atol=TOLERANCE[dtype] * (k + 1))


def test_threads_divide_columns_of_what_is_not_made_of_samples():
    x, w = gx.input("x", (None, 96)), gx.parameter(np.zeros((96, 160), "float32"))
    source = gx.function(x, gx.grad(gx.sum(gx.tanh(x @ w)), w)).source
    assert "matmul_float32, batch, batch, 160, 96, 0, " in source
    assert "matmul_float32, 160, 96, 160, batch, 4, " in source


def test_instruction_sets():
    assert isa_of(frozenset({"avx512f", "avx"})) == AVX512
    assert isa_of(frozenset({"avx", "fma"})) == AVX2
    assert isa_of(frozenset({"neon"})) == NEON
    assert isa_of(frozenset()) == BASELINE
    assert known().isa.vector_bytes >= 16


def test_tiles_fill_the_registers(monkeypatch, machine):
    for isa, heights in [
        (AVX512, (12, 10, 8)),
        (AVX2, (6, 5, 4)),
        (NEON, (12, 10, 8)),
        (BASELINE, (6, 5, 4)),
    ]:
        monkeypatch.setattr(shape, "TARGET", isa)
        assert (shape.high(4), shape.middle(4), shape.low(4)) == heights
        assert shape.rows(4) % shape.square(4) == 0
        assert shape.narrow(4) == (10 if isa.registers == 32 else 0)
        for caches, most in (
            ("l2=256K,l3=1M", 160 << 10), ("l2=1M,l3=4M", 640 << 10), ("l2=16M", 10 << 20),
            ("l2=512K,l3=32M", 320 << 10), ("l2=256K,l3=unknown", 160 << 10),
        ):  # fmt: skip
            machine(caches)
            assert most // 2 < shape.rows(4) * shape.DEPTH * 4 <= most
            assert shape.broad(4) % shape.width(4) == 0 < shape.broad(4)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [PLAIN, FLIP, AUTO, AUTO | COLUMNS])
def test_an_update_subtracts_the_product(form, dtype, isa):
    rng = np.random.default_rng(5)
    run = compiled("gemm", dtype, isa)
    factor = np.array([0.25], dtype)
    for m, n, k in itertools.product((1, 5, 16, 40), (1, 10, 33, 64), (1, 10, 32, 600)):
        a, b = operand(rng, (1, m, k), dtype, "columns"), operand(rng, (1, k, n), dtype, "rows")
        product, c = np.zeros((1, m, n), dtype), rng.standard_normal((1, m, n)).astype(dtype)
        multiply(run, a, b, product, form)
        expected = c - factor * product
        extent = n if form & COLUMNS else m
        for lo, hi in ((extent // 2, extent), (0, extent // 2)):
            run(lo, hi, m, n, k, form | UPDATE, a, *steps(a), b, *steps(b),
                c, factor.ctypes.data, n)  # fmt: skip
        np.testing.assert_allclose(c, expected, rtol=0, atol=TOLERANCE[dtype] * (k + 1))
