"""The arena: buffers that live at once never share a byte."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from graphc.machine import known
from graphc.plan import memory
from graphc.plan.memory import ALIGNMENT, aligned, plan_arena
from graphc.plan.program import Buffer
from graphc.types import Dim


@st.composite
def buffers(draw):
    result = []
    for number in range(draw(st.integers(0, 25))):
        born = draw(st.integers(-1, 20))
        size = draw(st.integers(0, 300))
        shape = (size, Dim()) if draw(st.booleans()) else (size,)
        dtype = np.dtype(draw(st.sampled_from(["bool", "float32", "float64"])))
        dies = born + draw(st.integers(0, 8))
        result.append(Buffer(f"b{number}", "arena", dtype, shape, None, born, dies))
    return result


@given(buffers(), st.integers(0, 5))
@settings(max_examples=300, deadline=None)
def test_buffers_alive_together_do_not_overlap(found, batch):
    plan = plan_arena(found, batch)
    places = [(b, plan.offsets[b], plan.offsets[b] + b.nbytes(batch)) for b in found]
    for i, (a, start, end) in enumerate(places):
        assert start % ALIGNMENT == 0
        assert 0 <= start <= end <= plan.nbytes
        for b, other_start, other_end in places[:i]:
            together = a.born <= b.dies and b.born <= a.dies
            apart = end <= other_start or other_end <= start
            empty = start == end or other_start == other_end
            assert apart or empty or not together
    ends = [plan.offsets[b] + aligned(b.nbytes(batch)) for b in found]
    assert plan.nbytes == max(ends, default=0)


@given(buffers(), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_the_arena_is_between_the_most_that_lives_at_once_and_the_sum(found, batch):
    sizes = {b: aligned(b.nbytes(batch)) for b in found}
    times = range(-1, 30)
    most = max((sum(sizes[b] for b in found if b.born <= t <= b.dies) for t in times), default=0)
    assert most <= plan_arena(found, batch).nbytes <= sum(sizes.values())


@given(buffers(), buffers(), st.integers(0, 5))
@settings(max_examples=200, deadline=None)
def test_levels_are_kept_apart_unless_the_arena_grows_too_much(found, others, batch):
    found = [replace(b, shape=(*b.shape, 5000)) for b in found]
    levels = {b: (o.born, o.dies) for b, o in zip(found, others, strict=False)}
    found = list(levels)
    tight, plan = plan_arena(found, batch), plan_arena(found, batch, levels)
    both = [{b: (b.born, b.dies) for b in found}, levels]
    apart = memory._placed(found, batch, both)
    fits = apart.nbytes <= max(memory.ROOMY * known().second, memory.GENEROUS * tight.nbytes)
    assert (plan.offsets, plan.apart) == ((apart if fits else tight).offsets, fits)


def chain(lengths):
    """Return buffers of which each is needed by the next call only."""
    return [
        Buffer(f"b{i}", "arena", np.dtype("float32"), (n,), None, i, i + 1)
        for i, n in enumerate(lengths)
    ]


def test_a_chain_needs_room_for_two():
    assert plan_arena(chain([16] * 50), 1).nbytes == 2 * 64


def test_the_plan_of_equal_programs_is_equal():
    first, second = (plan_arena(chain([7, 300, 16, 16, 5]), 1) for _ in range(2))
    assert list(first.offsets.values()) == list(second.offsets.values())
