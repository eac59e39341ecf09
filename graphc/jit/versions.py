"""Which versions of Numba compile kernels, and the error where another is installed."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING

from graphc.errors import VersionError
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    from importlib import metadata
else:
    metadata = lazy_module("importlib.metadata")

OLDEST, NEWEST = "0.62.0", "0.68.1"
"""Versions of Numba that the tests ran with; each insists on its own version of llvmlite."""


@functools.cache
def installed(library: str) -> str:
    """Return the version of a library that is installed; to look for it takes a millisecond."""
    return metadata.version(library)


@contextmanager
def door(library: str) -> Iterator[None]:
    """Import what graphc needs of ``library``.

    Raises VersionError, which names what is missing, the versions that are installed and those
    that work.
    """
    try:
        yield
    except VersionError:  # which is an ImportError, and says all
        raise
    except (ImportError, AttributeError) as error:
        raise _unusable(f"in {library}, {error}") from error


def need(names: Iterable[tuple[object, str]]) -> None:
    """Raise AttributeError if an object lacks one of the names beside it, which may have dots."""
    for owner, listed in names:
        for name in listed.split():
            try:
                attrgetter(name)(owner)
            except AttributeError as error:
                whose = getattr(owner, "__qualname__", getattr(owner, "__name__", repr(owner)))
                raise AttributeError(f"{whose} has no {name}") from error


def check(version: str) -> None:
    """Raise VersionError if ``version``, one of Numba, is older than any that works."""
    if _numbers(version) < _numbers(OLDEST):
        raise _unusable("it is too old")


@contextmanager
def explained() -> Iterator[None]:
    """Compile; an error says where no test ran with so new a version of Numba as is installed."""
    try:
        yield
    except Exception as error:
        version = installed("numba")
        if _numbers(version) > _numbers(NEWEST):
            known = f"graphc was tested with numba {OLDEST} to {NEWEST}"
            error.add_note(f"{known}; this is {version}")
        raise


def _numbers(version: str) -> tuple[int, ...]:
    """Return the numbers that a version begins with."""
    found = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, found[0].split("."))) if found else ()


def _unusable(why: str) -> VersionError:
    found = ", ".join(f"{name} {installed(name)}" for name in ("numba", "llvmlite"))
    return VersionError(
        f"graphc compiles with numba {OLDEST} to {NEWEST}, but installed are {found}: {why}\n"
        f'  pip install "numba>={OLDEST},<={NEWEST}"'
    )
