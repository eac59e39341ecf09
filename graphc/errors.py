"""Errors that say what is wrong, where the user wrote it, and what to do.

Every error a user can cause derives from :class:`GraphcError` and from the built-in
exception that a user of NumPy would expect.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

_BETWEEN = {"contextlib", "functools"}
"""Modules of Python's through which graphc calls itself."""

_PACKAGE = str(Path(__file__).parent) + os.sep


class GraphcError(Exception):
    """Base of every error raised on purpose by graphc."""


class ShapeError(GraphcError, ValueError):
    """Operands whose shapes do not fit together, or are none that an operation takes."""


class ArgumentError(GraphcError, ValueError):
    """A value, other than a shape, that an argument, a setting or an option cannot have."""


class FileError(GraphcError, ValueError):
    """A file that is damaged, or does not fit what is read from it."""


class DTypeError(GraphcError, TypeError):
    """An operand of the wrong kind or data type."""


class SettingError(GraphcError, AttributeError):
    """An attribute that does not exist, or whose assignment would do nothing."""


class RangeError(GraphcError, OverflowError):
    """A number outside the range of its data type."""


class IndexingError(GraphcError, IndexError):
    """An index outside its axis."""


class NameOfLayerError(GraphcError, KeyError):
    """A name that no layer has."""

    __str__ = Exception.__str__  # KeyError shows the text in quotes


class AllocationError(GraphcError, MemoryError):
    """A tensor, or all of them, that need more memory than there is."""


class VersionError(GraphcError, ImportError):
    """An installed library of a version that graphc does not work with."""


class GradientError(GraphcError, AssertionError):
    """A derivative that differs from finite differences."""


class VerificationError(GraphcError, AssertionError):
    """A stage of the compiler broke an invariant: a bug in graphc, never the user's."""


def is_internal(frame: FrameType) -> bool:
    """Tell whether a frame runs code of graphc."""
    if frame.f_code.co_filename.startswith(_PACKAGE):
        return True
    module = frame.f_globals.get("__name__")  # byte code may have been compiled elsewhere
    return isinstance(module, str) and (module.startswith("graphc.") or module in _BETWEEN)


def user_location() -> str | None:
    """Return ``"file:line"`` of the innermost frame outside graphc, or None."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not frame.f_code.co_filename.startswith(_PACKAGE) and not is_internal(frame):
            break
        frame = frame.f_back
    if frame is None:
        return None
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"
