"""The time a call should take, from what it computes and moves: a roofline.

Williams, Waterman and Patterson, *Roofline: an insightful visual performance model for
multicore architectures*, 2009. It only decides which kernels are worth dividing among threads.
"""

from __future__ import annotations

from graphc.machine import this
from graphc.machine.record import CALL
from graphc.plan.program import Call, MatrixProduct
from graphc.types import dim_at


class Cost:
    """The predicted time of a call on one core."""

    def __init__(self, call: Call) -> None:
        work = call.work
        self._product = isinstance(work, MatrixProduct)
        self._width = work.out.buffer.dtype.itemsize / 4 if isinstance(work, MatrixProduct) else 1
        self._flops = call.flops
        buffers = dict.fromkeys((*call.reads, *call.writes))
        self._bytes = sum((b.size * b.dtype.itemsize for b in buffers), start=0)

    def nanoseconds(self, batch: int) -> float:
        """Return the time for a batch of ``batch`` rows."""
        machine, nbytes = this(), dim_at(self._bytes, batch)
        rates = machine.rates
        flops = rates.product_flops / self._width if self._product else rates.loop_flops
        return CALL + max(dim_at(self._flops, batch) / flops, nbytes / machine.moved(nbytes))
