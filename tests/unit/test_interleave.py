"""Vectors of a loop take turns: the order of instructions, and the same bits at every length."""

from __future__ import annotations

import functools
import inspect

import numpy as np
import pytest
from llvmlite import binding

from graphc.build import interleave
from graphc.emit import vmath
from graphc.emit.vmath import variants
from tests.kernels import Compiled, elementwise, optimised

LOOP = """
define void @f(ptr %p, i64 %n) {
entry:
  br label %vector.body
vector.body:                                      ; preds = %vector.body, %entry
  %i = phi i64 [ 0, %entry ], [ %next, %vector.body ]
  %1 = getelementptr float, ptr %p, i64 %i
  %2 = getelementptr i8, ptr %1, i64 64
  %a = load <16 x float>, ptr %1, align 4
  %b = load <16 x float>, ptr %2, align 4
  %a1 = fmul <16 x float> %a, %a
  %a2 = fmul <16 x float> %a1, %a
  %a3 = fadd <16 x float> %a2, %a1
  %b1 = fmul <16 x float> %b, %b
  %b2 = fmul <16 x float> %b1, %b
  %b3 = fadd <16 x float> %b2, %b1
  store <16 x float> %a3, ptr %1, align 4
  store <16 x float> %b3, ptr %2, align 4
  %next = add i64 %i, 32
  %end = icmp eq i64 %next, %n
  br i1 %end, label %done, label %vector.body
done:                                             ; preds = %vector.body
  ret void
}
"""


def test_like_instructions_of_vectors_stand_side_by_side():
    names = [line.split(" = ")[0].strip() for line in interleave.interleaved(LOOP).splitlines()]
    places = [names.index(name) for name in ("%a1", "%b1", "%a2", "%b2", "%a3", "%b3")]
    assert places == sorted(places)


def test_the_order_of_memory_stays_and_llvm_accepts_the_text():
    text = interleave.interleaved(LOOP)
    binding.parse_assembly(text, context=binding.create_context()).verify()
    words = [line.split() for line in text.splitlines()]
    assert [w[2] if w[1:2] == ["="] else w[0] for w in words if {"load", "store"} & set(w)] == [
        *["load"] * 2,
        *["store"] * 2,
    ]


@pytest.mark.parametrize("end", ["label %done, label %other", "label %done"])
def test_other_blocks_are_left_alone(end):
    text = LOOP.replace("i1 %end, label %done, label %vector.body", f"i1 %end, {end}")
    renamed = text.replace("%1", "%n.1").replace("%2", "%n.2")
    assert interleave.interleaved(text) == renamed


UNARY = [
    name
    for name in vmath.__all__
    if len(inspect.signature(getattr(vmath, name)).parameters) == 1
    if not name.startswith("is") and name != "signbit"
]


@functools.cache
def compiled(name: str, dtype: str):
    return Compiled(elementwise(name, dtype))


def apply(name: str, x: np.ndarray, lo: int, hi: int) -> np.ndarray:
    out = np.full_like(x, -7)
    compiled(name, x.dtype.name)(lo, hi, x, out)
    return out


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", UNARY)
def test_elements_have_the_same_bits_at_every_place_of_a_kernel(name, dtype):
    x = np.random.default_rng(0).uniform(-3, 3, 150).astype(dtype)
    x[::7] = [np.inf, -np.inf, np.nan, 0, -0.0, 1, -1, 1e-40, 3e38, 30, -90] * 2
    alone = np.full_like(x, -7)
    for j in range(x.size):
        alone[j] = apply(name, x, j, j + 1)[j]
    for lo, hi in [(0, 150), (0, 64), (3, 131), (5, 21), (1, 33), (140, 150)]:
        want = np.full_like(x, -7)
        want[lo:hi] = alone[lo:hi]
        found = apply(name, x, lo, hi)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(want))
        # of a NaN, IEEE 754 and LLVM leave the sign open
        found, want = (np.where(np.isnan(a), np.nan, a).astype(dtype) for a in (found, want))
        np.testing.assert_array_equal(found.view("u1"), want.view("u1"))


@pytest.mark.skipif(not variants.has_wide(), reason="formulas without AVX-512 are not called")
@pytest.mark.parametrize(("name", "turns"), [("tanh", 4), ("sin", 1)])
def test_four_vectors_at_a_time_where_no_formula_has_a_branch(name, turns):
    module = optimised(elementwise(name, "float32"))
    body = module[module.index("\nvector.body:") :]
    stores = body[: body.index("\nmiddle.block")].count("store <")
    assert stores == turns
