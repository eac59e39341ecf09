"""Every option of graphc, once: ``gx.config(threads=2)`` as a call or a context manager.

Each option can also be set by an environment variable ``GRAPHC_<OPTION>``, read at import.
"""

from __future__ import annotations

import functools
import os
import re
import time
import warnings
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from graphc.errors import DTypeError, SettingError, ShapeError, user_location
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


_CACHE = re.compile(r"l([123])=(?:(\d+)([km])|unknown)", re.IGNORECASE)


@functools.cache
def _caches(machine: str) -> dict[int, int]:
    found: dict[int, int] = {}
    for part in filter(None, (p.strip() for p in machine.split(","))):
        match = _CACHE.fullmatch(part)
        if not match or int(match[1]) in found:
            raise ShapeError(
                f"option machine takes the sizes of caches, each once, as in "
                f"'l1=32K,l2=1M,l3=unknown'; not {part!r}"
            )
        level, count, unit = match.groups()
        found[int(level)] = int(count or 0) << (10 if (unit or "k") in "kK" else 20)
    return found


def _parse(name: str, value: Any) -> Any:
    """Return ``value`` as the option's type, or raise an error that names the option."""
    if name == "machine":
        _caches(str(value))
    default = getattr(Options(), name)
    if isinstance(default, bool):
        if isinstance(value, str):
            if value.lower() not in ("", "0", "1", "false", "true"):
                raise ShapeError(f"option {name} takes 0 or 1, not {value!r}")
            return value.lower() in ("1", "true")
        return bool(value)
    if isinstance(default, int):
        try:
            number = int(value)
        except (TypeError, ValueError):
            raise DTypeError(f"option {name} takes an integer, not {value!r}") from None
        if number < 0:
            raise ShapeError(f"option {name} must not be negative, got {number}")
        return number
    if not isinstance(value, str) and isinstance(value, (list, tuple, set, frozenset)):
        return ",".join(sorted(map(str, value)))
    return str(value)


def _from_environment() -> Options:
    values = {}
    for field in fields(Options):
        text = os.environ.get(f"GRAPHC_{field.name.upper()}")
        if text is not None:
            values[field.name] = _parse(field.name, text)
    known = [f"GRAPHC_{field.name.upper()}" for field in fields(Options)]
    for name in os.environ:
        if name.startswith("GRAPHC_") and name not in known:
            close = nearest(name, known)
            hint = f"did you mean {close}?" if close else f"there are {', '.join(known)}"
            warnings.warn(f"{name} is no option of graphc; {hint}", RuntimeWarning, stacklevel=2)
    return Options(**values)


_current = _from_environment()


def options() -> Options:
    """Return the options in force."""
    return _current


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
        known = {f.name for f in fields(Options)}
        for name in values:
            if name not in known:
                raise DTypeError(f"no option {name!r}; the options are {', '.join(sorted(known))}")
        if "machine" in values:
            raise SettingError(
                "a process has one machine: set GRAPHC_MACHINE before graphc is imported\n"
                f"  at {user_location()}"
            )
        self._before = _current
        _current = replace(_current, **{n: _parse(n, v) for n, v in values.items()})

    def __enter__(self) -> Options:
        return _current

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _current
        _current = self._before
