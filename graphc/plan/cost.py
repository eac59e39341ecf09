"""The time a call should take, from what it computes and moves: a roofline.

Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
multicore architectures*, 2009. The constants are those of one core of a present server; they
only decide which kernels are worth dividing among threads.
"""

from __future__ import annotations

from graphc.plan.program import Call, MatrixProduct
from graphc.types import dim_at

PRODUCT_FLOPS_PER_NANOSECOND = 200.0
"""Of a matrix product in float32; half in float64."""

FLOPS_PER_NANOSECOND = 60.0
"""Of a fused loop."""

CACHED_BYTES_PER_NANOSECOND = 120.0
"""From the second-level cache, in which most operands of small networks lie."""

BYTES_PER_NANOSECOND = 25.0
"""From memory."""

CACHED_BYTES = 1 << 20
"""Bytes of operands and results up to which a call is taken to run in cache."""

CALL_NANOSECONDS = 15.0


class Cost:
    """The predicted time of a call on one core."""

    def __init__(self, call: Call) -> None:
        rate = FLOPS_PER_NANOSECOND
        if isinstance(call.work, MatrixProduct):
            rate = PRODUCT_FLOPS_PER_NANOSECOND * 4 / call.work.out.buffer.dtype.itemsize
        self._rate = rate
        self._flops = call.flops
        buffers = dict.fromkeys((*call.reads, *call.writes))
        self._bytes = sum((b.size * b.dtype.itemsize for b in buffers), start=0)

    def nanoseconds(self, batch: int) -> float:
        """Return the time for a batch of ``batch`` rows."""
        nbytes = dim_at(self._bytes, batch)
        moving = CACHED_BYTES_PER_NANOSECOND if nbytes <= CACHED_BYTES else BYTES_PER_NANOSECOND
        return CALL_NANOSECONDS + max(dim_at(self._flops, batch) / self._rate, nbytes / moving)
