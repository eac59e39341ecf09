"""Kernels as C: the text, the functions that it brings along, and what a compiler makes of it."""

from __future__ import annotations

import ctypes
import re
from dataclasses import replace

import numpy as np
import pytest
from c_kernels import COMPILER, EXACT, CLibrary, compiled, texts_of
from golden.models import mlp, softmax_in_c
from kernels import elementwise, entry_at, run, written

import graphc as gx
from graphc import optim
from graphc.build.loader import LOADER
from graphc.codegen import loops
from graphc.emit import vmath
from graphc.emit.kernel import GeneratedKernel
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Integer, Name, Number, Pointer, call, least, most, select
from graphc.print import c
from graphc.types import FLOAT32, FLOAT64, INT32, INT64

needs_compiler = pytest.mark.skipif(COMPILER is None, reason="there is no C compiler: install cc")


def test_golden(golden):
    golden("softmax.c", softmax_in_c())


def test_a_program_names_what_is_not_in_its_text():
    text = mlp().c_source
    assert "// Not here, for they are written for one processor: " in text
    assert "matmul" in text
    defined = re.findall(r"^static inline .*", text, re.MULTILINE)
    assert len(defined) == len(set(defined))


# -- expressions -----------------------------------------------------------------------------------

M, J = Name("i", INT64), Name("j", INT64)
A, B = Name("a", FLOAT32), Name("b", FLOAT32)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (M - (J - 1), "i - (j - 1)"),
        (M - J - 1, "i - j - 1"),
        (M // (J % 3), "i / (j % 3)"),
        (-(-M), "-(-i)"),
        (M - Integer(-5), "i - -5"),
        (-Integer(-5), "-(-5)"),
        ((M < J) & (J < 3), "(i < j) & (j < 3)"),
        (~(M < J), "!(i < j)"),
        (M & J & 3 | M, "(i & j & 3) | i"),
        ((M < J).equals(J < M), "(i < j) == (j < i)"),
        (M.cast(FLOAT32) * A, "(float)i * a"),
        ((M + J).cast(INT32), "(int32_t)(i + j)"),
        (select(A < B, A, B) + A, "(a < b ? a : b) + a"),
        (A * Number(0.1, FLOAT32), "a * 0.1f"),
        (A + Number(-np.inf, FLOAT32), "a + -INFINITY"),
        (Number(np.nan, FLOAT64) * Number(1e300, FLOAT64), "NAN * 1e+300"),
        (M + Number(2**40, INT64), "i + INT64_C(1099511627776)"),
        (Number(-(2**63), INT64), "INT64_MIN"),
        (Number(-(2**31), INT32), "INT32_MIN"),
        (least(M, 3) + most(J, 0), "min(i, 3) + max(j, 0)"),
    ],
)
def test_expressions(value, text):
    assert c.CPrinter().value(value) == text


def test_a_variable_keeps_its_type():
    writer = Writer()
    writer.let("a", M)
    with writer.loop("k", J):
        writer.let("a", A)
    with pytest.raises(TypeError, match="a is float32, and int64 around it"):
        c.source([written("twice", writer, M, J, A).text])


# -- functions -------------------------------------------------------------------------------------

ONLY_WHOLE = {"left_shift", "right_shift"}
WHOLE = ONLY_WHOLE | {"abs", "ceil", "floor", "floor_divide", "maximum", "minimum", "pow", "relu",
                      "remainder", "round", "sign", "trunc", "where"}  # fmt: skip
TRUTHS = {"isfinite", "isinf", "isnan", "signbit"}

ULPS = {"gelu_tanh": 1024}
"""Units in the last place that the two languages may differ by, for all others 4: each is right to
about two. That of gelu_tanh is its gate's, in the tail where it is less than 1e-280. Logarithms of
sums may be nearly 0: theirs are units of the operands."""


def functions():
    """Yield the kernel of every function for every type that it takes."""
    for name in vmath.__all__:
        kinds = [FLOAT32, FLOAT64] if name not in ONLY_WHOLE else []
        for kind in kinds + ([INT32, INT64] if name in WHOLE else []):
            operands = [kind] * getattr(vmath, name).__wrapped__.__code__.co_argcount
            if name == "where":
                operands[0] = np.dtype(bool)
            out = np.dtype(bool) if name in TRUTHS else kind
            kernel = elementwise(name, *operands, out=out)
            fixed = replace(kernel.text, fixed=f"{name}_of_{kind}")
            yield name, operands, out, GeneratedKernel(fixed)


def points(dtype, few):
    """Return numbers of all sizes, and special ones."""
    if dtype.kind == "b":
        return np.array([False, True])
    if dtype.kind == "i":
        end = np.iinfo(dtype)
        small = [0, 1, -1, 2, -2, 3, -3, 5, 7, -7, 31, 32, 63, 64, 100, -100, 12345]
        return np.array([*small, end.max, end.min, end.max - 1, end.min + 1], dtype)
    end = np.finfo(dtype)
    tiny, huge = np.log10(float(end.smallest_normal)), np.log10(float(end.max))
    found = [np.linspace(0, 30, 241), np.linspace(31, 760, 99), np.logspace(tiny, huge * 0.999, 60)]
    special = [end.smallest_subnormal, end.smallest_normal / 8, 0.5, 1.5, np.inf, 0.0, 1.0]
    positive = np.concatenate([np.concatenate(found)[:: 7 if few else 1], special])
    return np.concatenate([positive, -positive, [np.nan]]).astype(dtype)


@needs_compiler
def test_every_function_is_there_and_right(tmp_path):
    cases = list(functions())
    entries, _ = LOADER.load([kernel for *_, kernel in cases])
    library = CLibrary(tmp_path, [kernel.text for *_, kernel in cases])
    for name, operands, out, kernel in cases:
        grid = np.meshgrid(*(points(d, len(operands) > 1) for d in operands))
        arrays = [np.ascontiguousarray(a.ravel()) for a in grid]
        results = np.zeros((2, arrays[0].size), out)
        for entry, result in zip((entries, library.entries), results, strict=True):
            run(entry_at(entry[kernel.name]), 0, result.size, *arrays, result)
        wanted, found = results
        if out.kind != "f" or name in EXACT:
            np.testing.assert_array_equal(found, wanted, err_msg=kernel.name)
            continue
        end = np.finfo(out)
        with np.errstate(all="ignore"):
            scale = arrays if name == "logaddexp" else [wanted]
            step = np.spacing(np.maximum(np.abs(scale).max(0), end.smallest_normal))
            near = np.abs(found - wanted) <= ULPS.get(name, 4) * step
            near |= np.abs(found - wanted) <= 1024 * end.smallest_subnormal
        near |= (found == wanted) | (np.isnan(found) & np.isnan(wanted))
        bad = [(*(a[i] for a in arrays), wanted[i], found[i]) for i in np.flatnonzero(~near)[:3]]
        assert not bad, (kernel.name, bad)


@needs_compiler
@pytest.mark.parametrize("kind", [FLOAT32, FLOAT64])
def test_random_numbers_are_the_same(tmp_path, kind):
    seed, stream, step = (Name(n, INT64) for n in ("seed", "stream", "step"))
    writer, out = Writer(), Pointer("out", kind)
    draw = f"random.uniform{8 * kind.itemsize}"
    with writer.loop("j", HI, LO) as j:
        writer.store(out[j], call(draw, seed, stream, step, j * 12345678901, dtype=kind))
    kernel = written("draws", writer, out, seed, stream, step)
    library = CLibrary(tmp_path, [kernel.text])
    mine, theirs = np.zeros((2, 1000), kind)
    given = (2**40 + 5, 3, -7)
    run(entry_at(library.entries["draws"]), 0, 1000, mine, *given)
    entries, _ = LOADER.load([kernel])
    run(entry_at(entries["draws"]), 0, 1000, theirs, *given)
    np.testing.assert_array_equal(mine, theirs)
    assert len(set(mine)) > 990


# -- a program of one's own ------------------------------------------------------------------------


@needs_compiler
def test_the_text_serves_alone(tmp_path):
    x = gx.input("x", (None, 10))
    softmax = gx.function(x, gx.softmax(2 * x))
    (name,) = texts_of(softmax._executable)
    library = ctypes.CDLL(str(compiled(tmp_path, softmax.c_source)))
    rows = np.random.default_rng(0).standard_normal((37, 10)).astype(np.float32)
    found = np.zeros_like(rows)
    places = [ctypes.c_void_p(a.ctypes.data) for a in (rows, found)]
    getattr(library, name)(*map(ctypes.c_int64, (0, 37)), *places, ctypes.c_int64(10))
    np.testing.assert_allclose(found, softmax(rows), rtol=1e-6)


@needs_compiler
def test_rows_and_streams(tmp_path, monkeypatch):
    monkeypatch.setattr(loops, "STREAM_BYTES", 0)
    x, z = gx.input("x", (None, 7), "float64"), gx.input("z", (3000,), "float64")
    x32, z32 = gx.astype(x, "float32"), gx.input("z32", (3000,))
    outputs = [gx.softmax(x), gx.softmax(x32), z * 2, z < 1, z32 * 2]
    call = gx.function([x, z, z32], outputs)
    called = set(re.findall(r"(?:rows|stream)\.\w+", call.source))
    assert called >= {"rows.load", "rows.store", "stream.write", "stream.fence"}
    rng, given = np.random.default_rng(0), []
    for n in (1, 5, 16, 300):
        z_given = rng.standard_normal(3000)
        given.append([rng.standard_normal((n, 7)), z_given, z_given.astype(np.float32)])
    wanted = [call(*arrays) for arrays in given]
    CLibrary(tmp_path, texts_of(call._executable).values()).replace(call._executable)
    for arrays, results in zip(given, wanted, strict=True):
        for found, result in zip(call(*arrays), results, strict=True):
            np.testing.assert_allclose(found, result, rtol=1e-14 if found.itemsize == 8 else 1e-6)


@needs_compiler
def test_a_model_trains(tmp_path):
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 8)).astype(np.float32), rng.integers(0, 4, 40)
    models = [mlp(optimizer=optim.Adam(1e-2)) for _ in range(2)]
    executable = models[1]._training
    CLibrary(tmp_path, texts_of(executable).values()).replace(executable)
    losses = [[model.train_step(x, y) for _ in range(20)] for model in models]
    np.testing.assert_allclose(*losses, rtol=1e-4)
