"""The bits of an element do not depend on where it stands.

In a vector or in what is left of a loop, in a short row, alone, on one thread or on more: for
every elementwise function of the registry, by itself and beside sums and products.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from llvmlite import binding

import graphc as gx
from graphc.errors import GraphcError
from graphc.ir.graph import ancestors
from graphc.ir.op import ENTRIES, Elementwise, Source
from graphc.jit import processor

LENGTH = 4099
SPECIAL = [np.inf, -np.inf, np.nan, 0.0, -0.0, 1.0, -1.0, 1e-40, 3e38, 30.0, -90.0]


def applied(entry, operands):
    """Return the function of the operands, or None if it is not computed element by element."""
    try:
        result = entry.function(*operands)
        if not isinstance(result, gx.Tensor) or result.type.shape != operands[0].type.shape:
            return None
    except (GraphcError, TypeError, ValueError, AttributeError):
        return None
    given = dict.fromkeys(operands)
    made_here = [n for n in ancestors([result], given) if n not in given]
    nodes = [n for n in made_here if not isinstance(n.op, Source)]
    each = all(isinstance(n.op, Elementwise) and not n.op.indexed for n in nodes)
    return result if nodes and each and result.dtype.kind == "f" else None


def arity(entry):
    """Return of how many operands it is computed element by element, of any rank; else 0."""
    for count in (1, 2, 3):
        tried = [
            applied(entry, [gx.input(f"x{i}", shape) for i in range(count)])
            for shape in ((None,), (None, 5))
        ]
        if all(result is not None for result in tried):
            return count
    return 0


ARITIES = {name: count for name, entry in sorted(ENTRIES.items()) if (count := arity(entry))}


BESIDE = {
    "alone": lambda x, y: y(),
    "in a sum": lambda x, y: x * 0.002 + y(),
    "in a product": lambda x, y: y() * x - 0.3,
}
"""What is made of the first operand x, at first, and of the result: compilers may fuse them."""


def made(name, beside, dtype, columns=None):
    """Compile the function, in rows of ``columns`` elements that lie apart if there are any."""
    shape = (None,) if columns is None else (None, columns + 2)
    inputs = [gx.input(f"x{i}", shape, dtype) for i in range(ARITIES[name])]
    operands = [x if columns is None else x[:, :columns] for x in inputs]
    return gx.function(
        inputs, BESIDE[beside](operands[0], lambda: applied(ENTRIES[name], operands))
    )


def same(found, wanted, what):
    equal = (found == wanted) & (np.signbit(found) == np.signbit(wanted))
    equal |= np.isnan(found) & np.isnan(wanted)
    assert equal.all(), f"{what}: {(~equal).sum()} of {equal.size} differ"


def arguments(name, dtype):
    rng = np.random.default_rng(0)
    found = [rng.uniform(-3, 3, LENGTH).astype(dtype) for _ in range(ARITIES[name])]
    for array in found:
        array[rng.permutation(LENGTH)[:44]] = SPECIAL * 4
        array[1::3] = np.abs(array[1::3])
    return found


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("beside", ["in a sum", "in a product"])
@pytest.mark.parametrize("name", ARITIES)
def test_bits_of_an_element(name, beside, dtype, shared):
    f, feeds = made(name, beside, dtype), arguments(name, dtype)
    with gx.config(threads=1):
        whole = f(*feeds)
        for count in (*range(1, 36), 67, 131):
            part = f(*[x[:count] for x in feeds])
            same(part, whole[:count], f"{name} {beside} of the first {count}")
        for place in range(LENGTH):
            part = f(*[x[place : place + 1] for x in feeds])
            same(
                part, whole[place : place + 1], f"element {place} of {name} {beside}, called alone"
            )
    for threads in (2, 4):
        with gx.config(threads=threads):
            same(f(*feeds), whole, f"{name} on {threads} threads")


@pytest.mark.parametrize("dtype", ["float32", pytest.param("float64", marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", ARITIES)
def test_bits_of_an_element_of_a_short_row(name, dtype):
    feeds = arguments(name, dtype)
    whole = made(name, "alone", dtype)(*feeds)
    rows = [x[:1000].reshape(200, 5) for x in feeds]
    apart = [np.concatenate([x, x[:, :2]], axis=1) for x in rows]
    same(made(name, "alone", dtype, 5)(*apart), whole[:1000].reshape(200, 5), name)


FOLDS = {
    "sum": gx.sum,
    "sum of columns": lambda x: gx.sum(x, axis=0),
    "sum of rows": lambda x: gx.sum(x, axis=1),
    "variance": lambda x: gx.var(x, axis=0),
    "greatest": gx.max,
    "product of rows": lambda x: gx.prod(x, axis=1),
    "softmax": gx.softmax,
    "logsumexp": lambda x: gx.logsumexp(x, axis=0),
    "sum of a chain": lambda x: gx.sum(gx.sin(x) * x),
    "product of matrices": lambda x: x.T @ x,
    "product with a vector": lambda x: x @ x[0],
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", FOLDS)
def test_bits_of_folds_on_any_number_of_threads(name, dtype, shared):
    for shape in ((3, 5), (1031, 129), (5, 4099), (4099, 3)):
        x = gx.input("x", (None, shape[1]), dtype)
        f = gx.function(x, FOLDS[name](x))
        values = np.random.default_rng(0).standard_normal(shape).astype(dtype)
        with gx.config(threads=1):
            whole = f(values)
        for threads in (2, 4):
            with gx.config(threads=threads):
                same(f(values), whole, f"{name} of {shape} on {threads} threads")


def test_most_functions_are_tried():
    assert len(ARITIES) > 60
    assert {"sin", "erf", "pow", "atan2", "where"} & set(ARITIES) >= {"sin", "erf", "pow", "atan2"}


@pytest.mark.slow
@pytest.mark.skipif("avx512f" not in processor.features(), reason="there is nothing narrower")
def test_bits_of_an_element_with_narrower_vectors(tmp_path):
    names = [f"{'+' if has and 'avx512' not in name else '-'}{name}"
             for name, has in binding.get_host_cpu_features().items()]  # fmt: skip
    environment = {**os.environ, "NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ",".join(names),
                   "GRAPHC_CACHE_DIR": str(tmp_path)}  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", __file__, "-k", "float32"],
        env=environment, cwd=Path(__file__).parents[2], check=True, timeout=900,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("width", [2, 3, 4, 5, 6, 7, 8, 9, 12, 16, 17, 33])
def test_equal_rows_have_equal_folds(width, dtype, shared):
    """Whether a row's fold stands in a vector of rows or in what is left of them."""
    x = gx.input("x", (None, width), dtype)
    mean = gx.mean(x, axis=1, keepdims=True)
    folds = [gx.sum(x, axis=1), gx.prod(x, axis=1), gx.sum(x * x, axis=1), gx.softmax(x)]
    folds += [(x - mean) / gx.std(x, axis=1, keepdims=True), gx.logsumexp(x, axis=1)]
    f = gx.function(x, (*folds, gx.grad(gx.sum(gx.var(x, axis=1) ** 2), x)))
    rng = np.random.default_rng(width)
    for row in rng.standard_normal((20, 1, width)).astype(dtype):
        for threads in (1, 2):
            with gx.config(threads=threads):
                for number, found in enumerate(f(np.repeat(row, 37, axis=0))):
                    assert (found == found[0]).all(), f"output {number}"
