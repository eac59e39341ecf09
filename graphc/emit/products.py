"""Matrix products as kernels, by the names under which generated modules call them.

Extent and range count the rows of the whole batch, where row ``e * m + i`` is row ``i`` of product
e, or columns: see :func:`graphc.emit.tiles.product`. Integers are always divided by rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphc.codegen.kernel import KernelText, Parameter
from graphc.emit import tiles
from graphc.emit.kernel import GeneratedKernel, Kernel
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Element, Integer, Name, Pointer, Value
from graphc.lazy import lazy_module
from graphc.types import INT32, INT64

driver = lazy_module("graphc.emit.tiles.driver")
grouped = lazy_module("graphc.emit.tiles.grouped")
matvec = lazy_module("graphc.emit.tiles.matvec")
vectors = lazy_module("graphc.emit.tiles.vectors")

_MATRIX = "m n k form *a a_b a_i a_k *b b_b b_k b_j *c c_b c_i"
_LOOPS = (
    "m n k *a a_i a_k *b b_k b_j *c c_i e0 a_e0 b_e0 e1 a_e1 b_e1 e2 a_e2 b_e2 "
    "q b_q c_q t0 a_t0 b_t0 t1 a_t1 b_t1 t2 a_t2 b_t2"
)
_VECTOR = "k *a a_i a_k *x x_k *y y_i"


def _real(
    name: str, dtype: str, arguments: str, plain: Callable[..., None],
    emit: Callable[[Any, Any], None], *, scratch: bool = False,
) -> Kernel:  # fmt: skip
    """Return a product of floats, whose code ``emit(vectors, function)`` writes."""
    types = tuple(f"{dtype}*" if a.startswith("*") else "int64" for a in arguments.split())
    width = np.dtype(dtype).itemsize
    return Kernel(
        f"{name}_{dtype}", types, lambda: plain,
        lambda function: emit(vectors.Vectors(width), function),
        scratch=f"{dtype}*" if scratch else "",
    )  # fmt: skip


def _integer(name: str, dtype: np.dtype[Any], arguments: str,
             write: Callable[..., None]) -> Kernel:  # fmt: skip
    """Return a product of integers, whose statements ``write`` writes."""
    writer, parameters, given = Writer(), [], {}
    for argument in arguments.split():
        own = argument.removeprefix("*")
        pointer = argument.startswith("*")
        given[own] = Pointer(own, dtype) if pointer else Name(own)
        parameters.append(Parameter(own, dtype if pointer else None))
    write(writer, **given)
    text = KernelText(name, tuple(parameters), tuple(writer.body), fixed=f"{name}_{dtype.name}")
    return GeneratedKernel(text)


def _matmul(
    w: Writer, m: Name, n: Name, k: Name, form: Name, a: Pointer, a_b: Name, a_i: Name, a_k: Name,
    b: Pointer, b_b: Name, b_k: Name, b_j: Name, c: Pointer, c_b: Name, c_i: Name,
) -> None:  # fmt: skip
    """C[e, i, j] = sum_k A[e, i, k] B[e, k, j], for integers."""
    with w.loop("row", HI, LO) as row:
        e, i = w.let("e", row // m), w.let("i", row % m)

        def out(j: Name) -> Element:
            return c[e * c_b + i * c_i + j]

        with w.loop("j", n) as j:
            w.store(out(j), Integer(0, c.dtype))
        with w.loop("t", k) as t:
            x = w.let("x", a[e * a_b + i * a_i + t * a_k])
            with w.loop("j", n) as j:
                w.store(out(j), out(j) + x * b[e * b_b + t * b_k + j * b_j])


def _contract(
    w: Writer, m: Name, n: Name, k: Name, a: Pointer, a_i: Name, a_k: Name, b: Pointer, b_k: Name,
    b_j: Name, c: Pointer, c_i: Name, *, q: Name, b_q: Name, c_q: Name, **around: Name,
) -> None:  # fmt: skip
    """C[e, i, p, j] = sum_tk A[e, i, t, k] B[e, t, k, p, j], for integers; see :mod:`.grouped`."""
    with w.loop("row", HI, LO) as row:
        e, i = w.let("e", row // m), w.let("i", row % m)
        second, first = around["e2"], around["e1"]
        index = (e // second // first, e // second % first, e % second)
        places = [w.let(f"at{x}", number) for x, number in enumerate(index)]
        left = w.let("left", _moved(i * a_i, places, around, "a_e"))
        right = w.let("right", _moved(Integer(0), places, around, "b_e"))
        with w.loop("p", q) as p, w.loop("j", n) as j:
            total = w.let("total", Integer(0, c.dtype))
            with (w.loop("u0", around["t0"]) as u0, w.loop("u1", around["t1"]) as u1,
                  w.loop("u2", around["t2"]) as u2, w.loop("t", k) as t):  # fmt: skip
                x = a[_moved(left + t * a_k, (u0, u1, u2), around, "a_t")]
                y = b[_moved(right + p * b_q + t * b_k + j * b_j, (u0, u1, u2), around, "b_t")]
                w.let("total", total + x * y)
            w.store(c[row * c_i + p * c_q + j], total)


def _moved(start: Value, places: Sequence[Value], strides: dict[str, Name], name: str) -> Value:
    """Return where an element lies that is ``places`` from ``start`` along axes of these names."""
    for number, place in enumerate(places):
        start = start + place * strides[f"{name}{number}"]
    return start


def _matvec(
    w: Writer, k: Name, a: Pointer, a_i: Name, a_k: Name, x: Pointer, x_k: Name, y: Pointer,
    y_i: Name,
) -> None:  # fmt: skip
    """y[i] = sum_k A[i, k] x[k], for integers."""
    with w.loop("i", HI, LO) as i:
        total = w.let("total", Integer(0, y.dtype))
        with w.loop("t", k) as t:
            w.let("total", total + a[i * a_i + t * a_k] * x[t * x_k])
        w.store(y[i * y_i], total)


def _products(dtype: str) -> tuple[Kernel, Kernel, Kernel]:
    def matrix(v: Any, function: Any) -> None:
        driver.emit_product(v, function)

    def loops(v: Any, function: Any) -> None:
        grouped.emit_contract(v, function)

    def vector(v: Any, function: Any) -> None:
        matvec.emit_apply(v, function)

    return (
        _real("matmul", dtype, _MATRIX, tiles.product, matrix, scratch=True),
        _real("contract", dtype, _LOOPS, tiles.contract, loops, scratch=True),
        _real("matvec", dtype, _VECTOR, tiles.apply, vector),
    )


def _integer_products(dtype: np.dtype[Any]) -> tuple[Kernel, Kernel, Kernel]:
    return (
        _integer("matmul", dtype, _MATRIX, _matmul),
        _integer("contract", dtype, _LOOPS, _contract),
        _integer("matvec", dtype, _VECTOR, _matvec),
    )


matmul_float32, contract_float32, matvec_float32 = _products("float32")
matmul_float64, contract_float64, matvec_float64 = _products("float64")
matmul_int32, contract_int32, matvec_int32 = _integer_products(INT32)
matmul_int64, contract_int64, matvec_int64 = _integer_products(INT64)
