"""What the ops that write their own loops share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager

from graphc.ir.op import Access, Emitter
from graphc.kernel.value import Name


def places(over: Access) -> list[Name]:
    """Return the indices of the loops over all axes of ``over``."""
    return [Name(f"i{axis}") for axis in range(len(over.dims))]


@contextmanager
def nest(
    e: Emitter, over: Access, axes: Iterable[int], *, parallel: bool = False, lanes: bool = False
) -> Iterator[None]:
    """Open a loop ``i<k>`` over each axis ``k`` of ``over``, the first one parallel if asked.

    With ``lanes``, steps are independent and shall be lanes of vectors, even if they are few.
    """
    with ExitStack() as stack:
        for axis in axes:
            name = f"i{axis}"
            if parallel:
                stack.enter_context(e.parallel(name, over.dims[axis]))
            else:
                stack.enter_context(e.loop(name, over.shape[axis], lanes=lanes))
            parallel = False
        yield
