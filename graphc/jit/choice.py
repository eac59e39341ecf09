"""Which compiler makes machine code of kernels: LLVM, or Numba where llvmlite is not as it was."""

from __future__ import annotations

import functools
import warnings

from graphc.config import NUMBA, options
from graphc.errors import VersionError, user_location
from graphc.jit import llvm, versions


def compiler() -> str:
    """Return the compiler in force.

    Numba's public API serves where what LLVM's way takes of llvmlite is missing, or is of a version
    that is older than any it was tested with: one warning says so.
    """
    return options().compiler if llvm_serves() else NUMBA


@functools.cache
def llvm_serves() -> bool:
    """Tell whether LLVM's way has what it takes of llvmlite."""
    try:
        llvm.check()
        versions.check(versions.installed("numba"))
    except VersionError as error:
        warnings.warn(
            f"{error}\nuntil then numba.cfunc compiles kernels: at every start anew, and to slower "
            f"code\n  at {user_location()}",
            RuntimeWarning,
            stacklevel=3,
        )
        return False
    return True
