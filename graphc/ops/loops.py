"""What the ops that write their own loops share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from graphc.ir.op import Access, Emitter


@contextmanager
def nest(
    e: Emitter, over: Access, axes: Iterable[int], *, parallel: bool = False
) -> Iterator[None]:
    """Open a loop ``i<k>`` over each axis ``k`` of ``over``, the first one parallel if asked."""
    with ExitStack() as stack:
        for axis in axes:
            name = f"i{axis}"
            loop = e.parallel(name, over.dims[axis]) if parallel else e.loop(name, over.shape[axis])
            stack.enter_context(loop)
            parallel = False
        yield
