"""Every option of graphc, once: ``gx.config(threads=2)`` as a call or a context manager.

Each option can also be set by an environment variable ``GRAPHC_<OPTION>``, read at import.
"""

from __future__ import annotations

import functools
import operator
import os
import re
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphc.errors import ArgumentError, DTypeError, GraphcError, SettingError, user_location
from graphc.lazy import lazy_module
from graphc.synonyms import nearest

if TYPE_CHECKING:
    import tempfile
else:
    tempfile = lazy_module("tempfile")

_ASK_AGAIN = 0.25
"""Seconds for which the number of processors holds: to ask costs half of a small step."""

_asked: tuple[float, int] = -1.0, 1


def available_cpus() -> int:
    """Return the number of processors that this process may use."""
    global _asked
    now = time.monotonic()
    if now > _asked[0]:
        try:
            count = len(os.sched_getaffinity(0))
        except AttributeError:  # macOS and Windows have no affinity mask
            count = os.cpu_count() or 1
        _asked = now + _ASK_AGAIN, count
    return _asked[1]


def _default_cache_dir() -> str:
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base).expanduser() if base else Path.home() / ".cache"
    except RuntimeError:  # neither HOME nor an entry of this user's in the system's list
        user = os.getuid() if os.name == "posix" else "user"
        folder = Path(tempfile.gettempdir()) / f"graphc-{user}"
    return str(folder / "graphc")


def _expanded(folder: str) -> Path:
    """Return a folder with ``~`` as the shell reads it; where nobody is at home, as it stands."""
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        return Path(folder)


LLVM, NUMBA = "llvm", "numba"


@dataclass(frozen=True, slots=True)
class Options:
    """The options and their defaults."""

    threads: int = 0
    """Threads of a compiled step; 0 means the CPUs this process may use."""
    cache_dir: str = ""
    """Folder of compiled kernels; empty means ``$XDG_CACHE_HOME/graphc``."""
    dump: str = ""
    """Folder into which every stage is written as text; empty means none."""
    check: bool = False
    """Verify the graph and interpret it before and after every pass."""
    disable_passes: str = ""
    """Names of passes to leave out, separated by commas."""
    calibrate: bool = True
    """Try once how fast this machine is; without, take what is to be expected of such a machine."""
    compiler: str = LLVM
    """What compiles kernels: ``llvm``, or ``numba``, which knows less of them."""
    machine: str = ""
    """Another machine's caches instead of this one's: ``l1=32K,l2=1M,l3=unknown``."""

    def caches(self) -> dict[int, int]:
        """Return the bytes of each cache that ``machine`` names, by its level; 0: unknown."""
        return _caches(self.machine)

    def thread_count(self) -> int:
        return self.threads or available_cpus()

    def dump_path(self) -> Path | None:
        return _expanded(self.dump) if self.dump else None

    def cache_path(self) -> Path:
        return _expanded(self.cache_dir or _default_cache_dir())


_CACHE = re.compile(r"l([123])=(?:(\d{1,9})([km])|unknown)", re.IGNORECASE)

_SMALLEST, _LARGEST = 4 << 10, {1: 1 << 20, 2: 1 << 28, 3: 1 << 36}
"""Bytes of a cache that graphc takes for one, by its level."""

_MOST_THREADS = 1024


@functools.cache
def _caches(machine: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in filter(None, (p.strip() for p in machine.split(","))):
        match = _CACHE.fullmatch(part)
        if not match or int(match[1]) in found:
            raise ArgumentError(
                f"option machine takes the sizes of caches, each once, as in "
                f"'l1=32K,l2=1M,l3=unknown'; not {part!r}"
            )
        level, size = int(match[1]), None
        if match[2]:
            size = int(match[2]) << (10 if match[3] in "kK" else 20)
            if not _SMALLEST <= size <= _LARGEST[level]:
                raise ArgumentError(
                    f"option machine: a cache l{level} has from {_SMALLEST >> 10}K to "
                    f"{_LARGEST[level] >> 20}M, not {part!r}; where it is not known, say unknown"
                )
        found[level] = size or 0
    return found


# -- what each option takes ----------------------------------------------------------------------


def _switch(name: str, value: Any) -> bool:
    text = str(value).lower()
    if text not in ("0", "1", "false", "true"):
        kind = ArgumentError if isinstance(value, (int, str)) else DTypeError
        raise kind(f"option {name} takes True or False, 1 or 0, not {value!r}")
    return text in ("1", "true")


def _threads(name: str, value: Any) -> int:
    said = (
        f"option {name} takes an integer from 0, which means all processors, to {_MOST_THREADS}, "
        f"not {value!r}"
    )
    try:
        number = int(value) if isinstance(value, str) else operator.index(value)
    except (TypeError, ValueError):
        raise DTypeError(said) from None
    if isinstance(value, bool):
        raise DTypeError(said)
    if not 0 <= number <= _MOST_THREADS:
        raise ArgumentError(said)
    return number


def _folder(name: str, value: Any) -> str:
    folder = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(folder, str):
        raise DTypeError(f"option {name} takes the path of a folder, not {value!r}")
    if "\0" in folder:
        raise ArgumentError(f"option {name}: no folder has a path with a null in it: {folder!r}")
    return folder


def _names(name: str, value: Any) -> str:
    names = [value] if isinstance(value, str) else value
    listed = isinstance(names, (list, tuple, set, frozenset))
    if not listed or not all(isinstance(n, str) for n in names):
        raise DTypeError(f"option {name} takes names, in a list or between commas, not {value!r}")
    return ",".join(sorted(names))


def _compiler(name: str, value: Any) -> str:
    if value not in (LLVM, NUMBA):
        kind = ArgumentError if isinstance(value, str) else DTypeError
        raise kind(f"option {name} takes {LLVM!r} or {NUMBA!r}, not {value!r}")
    return str(value)


def _machine(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise DTypeError(f"option {name} takes text such as 'l1=32K,l2=1M', not {value!r}")
    _caches(value)
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {
    "threads": _threads, "cache_dir": _folder, "dump": _folder, "check": _switch,
    "disable_passes": _names, "calibrate": _switch, "compiler": _compiler,
    "machine": _machine,
}  # fmt: skip


def checked(name: str, value: Any) -> Any:
    """Return what a user gives option ``name`` as its type, or raise an error that names it."""
    return _CHECKS[name](name, value)


# -- the options in force ------------------------------------------------------------------------


def _from_environment() -> Options | GraphcError:
    """Return the options that the environment sets, or what is wrong with them."""
    variables = {f"GRAPHC_{name.upper()}": name for name in _CHECKS}
    values = {}
    for variable in os.environ:
        if variable.startswith("GRAPHC_") and variable not in variables:
            close = nearest(variable, variables)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(variables)}"
            said = f"{variable} is no option of graphc; {hint}"
            warnings.warn(said, RuntimeWarning, stacklevel=2)
    for variable, name in variables.items():
        if text := os.environ.get(variable):
            try:
                values[name] = checked(name, text)
            except (ArgumentError, DTypeError) as error:
                return ArgumentError(f"environment variable {variable}: {error}")
    return Options(**values)


_current = _from_environment()
"""What is wrong is raised when options are needed: an import shows no error in one line."""


def options() -> Options:
    """Return the options in force."""
    if isinstance(_current, Options):
        return _current
    raise type(_current)(*_current.args)


class _Config(type):
    """Assigning to ``gx.config`` itself would change nothing."""

    def __setattr__(cls, name: str, value: Any) -> None:
        raise SettingError(
            f"options are set by a call, gx.config({name}={value!r})\n  at {user_location()}"
        )


class config(metaclass=_Config):
    """Set options: ``gx.config(threads=2)``; as a context manager, until the block ends."""

    def __init__(self, **values: Any) -> None:
        global _current
        for name in values:
            if name not in _CHECKS:
                listed = ", ".join(sorted(_CHECKS))
                where = f"\n  at {user_location()}"
                raise DTypeError(f"no option {name!r}; the options are {listed}{where}")
        if "machine" in values:
            raise SettingError(
                "a process has one machine: set GRAPHC_MACHINE before graphc is imported\n"
                f"  at {user_location()}"
            )
        self._before = options()
        try:
            given = {name: checked(name, value) for name, value in values.items()}
        except (ArgumentError, DTypeError) as error:
            raise type(error)(f"{error}\n  at {user_location()}") from None
        _current = replace(self._before, **given)

    def __enter__(self) -> Options:
        return options()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        _current = self._before
