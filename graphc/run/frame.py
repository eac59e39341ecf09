"""The memory that a generated module sees as ``m``, and the two ways of running it.

Captured, the module's functions are executed once for each batch size, and every
``m.run(kernel, extent, *arguments)`` becomes a record of a table. The table is then replayed
by one compiled loop, as CUDA graphs are. Plain, each call runs the kernel as Python code.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import numpy as np

from graphc.codegen.module import size_variable
from graphc.emit.kernel import Kernel
from graphc.errors import VerificationError
from graphc.ir.op import Array
from graphc.plan.program import step_name
from graphc.schedule.footprint import Pointer, Prediction, Slice, slice_at
from graphc.schedule.levels import CHECK, START, Record
from graphc.schedule.loops import Part, repeated
from graphc.types import Sizes

UNROLLED = 8
"""Steps of a loop up to which each has its own records: those that need nothing of each other can
then run side by side."""

View = TypeVar("View")
"""What a module's text sees of a buffer."""


class Frame(Generic[View]):
    """Names of buffers as attributes, for a batch of ``batch`` rows."""

    def __init__(self, memory: Mapping[str, View], batch: int) -> None:
        self.batch = batch
        if isinstance(batch, Sizes):
            self.__dict__.update((size_variable(name), size) for name, size in batch.named)
        self.__dict__.update(memory)

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> View: ...


Known: TypeAlias = "dict[tuple[int, int], tuple[int, list[int], tuple[Slice, ...]]]"
"""By the number of a call and the start of its part: extent and arguments of one that touches the
same in every batch, and what that is."""


class CaptureFrame(Frame["Pointer"]):
    """Takes down a record for each kernel call."""

    def __init__(
        self,
        memory: Mapping[str, Pointer],
        batch: int,
        entries: Mapping[str, int],
        predictions: Iterable[Prediction],
        kept: Slice | None = None,
        known: Known | None = None,
    ) -> None:
        """Start with no records.

        ``kept`` is the memory that may not be written before the guards have run; ``known`` is
        where to remember what owes nothing to the batch, for other frames of the function.
        """
        super().__init__(memory, batch)
        self._kept = kept
        self._known: Known = {} if known is None else known
        self._entries = entries
        self._sizes = batch
        """The sizes of a call, and the steps of the loops around it."""
        self._predictions = list(predictions)
        self.records: list[Part] = []
        self._count = 0

    def run(self, kernel: Kernel, extent: int, *arguments: Any) -> None:
        known = self._predictions[self._count]
        if known.kernel != kernel.name:
            raise VerificationError(f"{known.kernel} was planned, {kernel.name} is called")
        self._count += 1
        if extent <= 0:
            return
        for start, length in known.parts or ((0, extent),):
            passed = list(arguments)
            for position in {t.position for t in known.touches if t.stride} if start else ():
                passed[position] = passed[position][start:]
            share = known.nanoseconds * length / extent
            self._take_down(kernel, start, length, passed, known, share)

    def _take_down(
        self,
        kernel: Kernel,
        start: int,
        extent: int,
        arguments: Sequence[Any],
        known: Prediction,
        nanoseconds: float,
    ) -> None:
        words = [a if type(a) is int else word(a) for a in arguments]
        self.records.append(
            Record(
                self._entries[kernel.name],
                extent,
                words,
                self._slices(known, start, extent, arguments, words),
                nanoseconds,
                (self._count - 1,),
                tuple(
                    [
                        (i, a.moving)
                        for i, a in enumerate(arguments)
                        if type(a) is Pointer and a.moving
                    ]
                ),
                kernel.name,
                guards=known.guards,
            )
        )

    def _slices(
        self, call: Prediction, start: int, extent: int, arguments: Sequence[Any], words: list[int]
    ) -> tuple[Slice, ...]:
        """Return what a call touches; ``words`` are its arguments as numbers."""
        key = self._count, start
        before = self._known.get(key)
        if before is not None and before[0] == extent and before[1] == words:
            return before[2]
        found = {
            slice_at(t, arguments[t.position], self._sizes, extent): None for t in call.touches
        }
        if call.guards:
            found[self._kept] = None
        result = tuple(s for s in found if s is not None)
        if all(t.is_fixed for t in call.touches):
            self._known[key] = extent, list(words), result
        return result

    def loop(
        self,
        number: int,
        steps: range,
        taken: Pointer | None = None,
        going: Pointer | None = None,
    ) -> Iterator[int]:
        """Yield the steps of a loop, of a long one two: they tell what moves from step to step.

        Where only memory tells how many there are, records do that look there.
        """
        start, sizes, before = self._count, self._sizes, self.records
        named = sizes.named if isinstance(sizes, Sizes) else ()
        unrolled = taken is None and len(steps) <= UNROLLED
        parts: list[list[Part]] = []
        for step in steps if unrolled else steps[:2]:
            self._count = start
            self._sizes = Sizes(sizes, (*named, (step_name(number), step)))
            self.records = [] if taken is None else [looking(taken, START)]
            yield step
            self.records += [] if going is None else [looking(going, CHECK)]
            parts.append(self.records)
        self._sizes = sizes
        self.records = before
        if unrolled:
            before += [part for own in parts for part in own]
        elif parts:
            before.append(repeated(parts[0], parts[-1], len(steps), steps.step < 0, self._entries))
        self._count = start
        while self._count < len(self._predictions):
            if number not in self._predictions[self._count].loops:
                break
            self._count += 1

    def when(self, number: int, taken: Pointer) -> Iterator[int]:
        """Yield the step of a branch."""
        return self.loop(number, range(1), taken)

    def steps(self) -> Iterator[int]:
        """Yield once: the replay repeats what one iteration records."""
        yield 0


def looking(pointer: Pointer, mark: int) -> Record:
    """Return a record of a loop that looks into memory."""
    moving = ((0, pointer.moving),) if pointer.moving else ()
    return Record(0, 1, [pointer.address], (), 0.0, (), moving, mark=mark)


def word(argument: Any) -> int:
    """Return an argument as a record of the table holds it: eight bytes, read as an integer."""
    if isinstance(argument, np.generic):
        return int.from_bytes(argument.tobytes().ljust(8, b"\0"), sys.byteorder, signed=True)
    return int(argument.__index__())


class PlainFrame(Frame[Array]):
    """Runs each kernel call at once, as Python code on flat NumPy arrays."""

    def __init__(self, memory: Mapping[str, Array], batch: int, repeat: int = 1) -> None:
        super().__init__({name: _flat(array) for name, array in memory.items()}, batch)
        self._repeat = repeat
        self._verdict = memory.get("verdict")

    def run(self, kernel: Kernel, extent: int, *arguments: Any) -> None:
        if self._verdict is not None and self._verdict[0]:
            return
        with np.errstate(all="ignore"):
            kernel(0, extent, *arguments)

    def loop(
        self,
        number: int,
        steps: range,
        taken: Array | None = None,
        going: Array | None = None,
    ) -> Iterator[int]:
        """Yield the steps of a loop: all, or as many as memory says."""
        if taken is not None:
            count = min(max(0, int(taken[0])), len(steps))
            steps = steps[len(steps) - count :] if steps.step < 0 else steps[:count]
        for step in steps:
            yield step
            if going is not None and not going[0]:
                break

    def when(self, number: int, taken: Array) -> Iterator[int]:
        """Yield once if a branch is taken."""
        return self.loop(number, range(1), taken)

    def steps(self) -> Iterator[int]:
        yield from range(self._repeat)


def _flat(array: Array) -> Array:
    flat = array.reshape(-1)
    return flat.view(np.uint8) if array.dtype.kind == "b" else flat
