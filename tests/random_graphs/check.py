"""Whether a program computes what it should: compiled, by the oracle, by JAX, by differences."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import pytest

import graphc as gx
from graphc.ir.source import Parameter
from graphc.ir.tensor import Tensor
from tests.thresholds import SWEPT, put

from .derivatives import wrong_derivative, wrong_in_jax
from .program import Built, Call, Program, laid
from .reference import Reference


@dataclass(frozen=True)
class Failure:
    """What is wrong with a program: ``kind`` is what a smaller program must have in common."""

    kind: str
    text: str


@contextmanager
def jit(on: bool) -> Iterator[None]:
    """Let what is compiled and called inside be machine code, or plain Python."""
    before = os.environ.get("NUMBA_DISABLE_JIT")
    os.environ["NUMBA_DISABLE_JIT"] = "0" if on else "1"
    try:
        yield
    finally:
        os.environ.pop("NUMBA_DISABLE_JIT")
        if before is not None:
            os.environ["NUMBA_DISABLE_JIT"] = before


def check(program: Program, *, jax: bool = False) -> Failure | None:
    """Return what is wrong with ``program``, or None; ``jax`` compares with JAX as well."""
    try:
        built = program.build()
    except Exception:
        return _raised("declaration")
    try:
        wrong = wrong_derivative(program)
        if wrong:
            return Failure("derivative", wrong)
        if jax and (wrong := wrong_in_jax(program)):
            return Failure("jax", wrong)
    except Exception:
        return _raised("oracle")
    with jit(not program.plain), pytest.MonkeyPatch.context() as numbers:
        for name, side in program.thresholds:
            put(numbers, name, SWEPT[name][side])
        return _compiled(program, built)


def _compiled(program: Program, built: Built) -> Failure | None:
    try:
        f = gx.function(list(built.inputs.values()), built.outputs, built.updates)
    except Exception:
        return _raised("compile")
    cells = list(f.graph.parameters)
    start = {p: _cell(p).copy() for p in cells}
    given: list[tuple[np.ndarray, np.ndarray]] = []
    for number, call in enumerate(program.calls):
        what = f"call {number} ({call.batch} rows, {call.threads} threads)"
        for p in cells:
            _cell(p)[...] = start[p]
        feeds = {
            name: laid(leaf.values(call.batch, call.again), leaf.layout if call.odd else "C")
            for name, leaf in program.inputs.items()
        }
        reference = _reference(built, feeds, start, call)
        kept = {name: np.array(v) for name, v in feeds.items()}
        try:
            with gx.config(threads=call.threads):
                found = f(*feeds.values())
        except Exception as error:
            if reference is None or "rows is too small" in str(error):
                continue  # NumPy raises as well
            return _raised("call")
        if reference is None:
            continue
        for name, value in feeds.items():
            if not np.array_equal(value, kept[name], equal_nan=value.dtype.kind == "f"):
                return Failure("feed", f"{what}: the array fed to {name} was changed")
        for i, (tensor, value) in enumerate(zip(built.outputs, found, strict=True)):
            wrong = reference.difference(tensor, value)
            if wrong:
                return Failure("value", f"{what}: output {i}: {wrong}")
        for p, new in built.updates.items():
            wrong = reference.difference(new, _cell(p))
            if wrong:
                return Failure("update", f"{what}: the new {p.name}: {wrong}")
        for p in cells:
            if p not in built.updates and not np.array_equal(_cell(p), start[p]):
                return Failure("parameter", f"{what}: parameter {p.name} was changed")
        given += [(v, v.copy()) for v in found if isinstance(v, np.ndarray)]
        for value, then in given:
            if not np.array_equal(value, then, equal_nan=value.dtype.kind == "f"):
                return Failure("returned", f"{what}: an array returned before has changed")
    return None


def _cell(p: Tensor) -> np.ndarray:
    assert isinstance(p.op, Parameter)
    return p.op.cell.array


def _reference(built: Built, feeds: dict, start: dict, call: Call) -> Reference | None:
    """Return the reference of a call, or None where NumPy raises for its values."""
    fed = {built.inputs[name]: np.asarray(value) for name, value in feeds.items()}
    try:
        return Reference([*built.outputs, *built.updates.values()], {**fed, **start}, call.batch)
    except (ValueError, IndexError):
        return None


def _raised(kind: str) -> Failure:
    text = traceback.format_exc()
    last = text.strip().splitlines()[-1]
    return Failure(f"{kind}: {last.split(':')[0]}", text[-2500:])
