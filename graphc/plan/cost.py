"""The time a call should take, from what it computes and moves: a roofline.

Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
multicore architectures*, 2009. The constants are those of one core of a present server; they
only decide which kernels are worth dividing among threads.
"""

from __future__ import annotations

from graphc.plan.program import Call, MatrixProduct
from graphc.types import dim_at

PRODUCT_FLOPS_PER_NANOSECOND = 100.0
"""Of a matrix product in float32."""

FLOPS_PER_NANOSECOND = 8.0
"""Of a fused loop."""

BYTES_PER_NANOSECOND = 25.0
"""From the second-level cache, in which most operands of small networks lie."""

CALL_NANOSECONDS = 15.0


def nanoseconds(call: Call, batch: int) -> float:
    """Return the predicted time of ``call`` on one core for a batch of ``batch`` rows."""
    product = isinstance(call.work, MatrixProduct)
    rate = PRODUCT_FLOPS_PER_NANOSECOND if product else FLOPS_PER_NANOSECOND
    computing = dim_at(call.flops, batch) / rate
    moving = call.nbytes(batch) / BYTES_PER_NANOSECOND
    return CALL_NANOSECONDS + max(computing, moving)
