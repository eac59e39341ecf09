"""What an op that writes its own loops sees: its operands, and what collects the statements."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np

from graphc.kernel.value import Element, Name, Pointer, Value
from graphc.types import AnyDim, Shape


class Access(Protocol):
    """An operand or result inside generated loops."""

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def shape(self) -> tuple[Value, ...]:
        """The length of each axis, as a value in the kernel."""
        ...

    @property
    def dims(self) -> Shape:
        """The length of each axis."""
        ...

    def stride(self, axis: int) -> Value:
        """Return how far neighbours along ``axis`` are from each other."""
        ...

    def at(self, *index: Value) -> Element:
        """Return the element at ``index``."""
        ...


class Emitter(Protocol):
    """Collects the statements of one kernel, as :class:`graphc.kernel.code.Writer` does."""

    reassociate: bool
    """Whether the compiler may add up a fold, ``total = total + x``, in any order."""

    def let(self, name: str, value: Value) -> Name:
        """Give a variable a value; return it."""
        ...

    def store(self, element: Element, value: Value) -> None: ...

    def block(self, name: str, dtype: np.dtype[Any], module: str, size: Value) -> Pointer:
        """Return memory on the stack, a few kilobytes; ask for it before any loop."""
        ...

    def do(self, function: str, *operands: Value | Pointer | int) -> None:
        """Call a function for what it does to memory, such as ``blocks.multiply``."""
        ...

    def loop(
        self, name: str, stop: Value | int, start: Value | int = 0, step: int = 1,
        *, lanes: bool = False,
    ) -> AbstractContextManager[Name]:  # fmt: skip
        """Open ``for name in range(start, stop, step)``, whose steps may be lanes of vectors."""
        ...

    def when(self, condition: Value) -> AbstractContextManager[None]:
        """Open what is done only if the condition holds."""
        ...

    def parallel(self, name: str, extent: AnyDim) -> AbstractContextManager[Name]:
        """Open the loop that threads share, whose iterations are independent.

        Where there are several, one behind the other or within loops that each thread runs whole,
        they are over the same axis, and an iteration needs what its own number did before, no
        other's.
        """
        ...

    def share(self, name: str, extent: AnyDim) -> Name:
        """Let threads share ``extent`` places without a loop over them.

        A thread touches the places ``name`` in its part of them, ``LO <= name < HI``, only.
        """
        ...

    def lit(self, value: Any, dtype: np.dtype[Any]) -> Value:
        """Return ``value`` as a number of ``dtype``."""
        ...
