"""From kernels to object code, with Python and LLVM at work side by side.

The calling thread takes one kernel after another to LLVM's language, which is Python's work. A
thread beside it takes them on to object code, which is LLVM's work and leaves the interpreter
free: of the 0.9 s that the 16 kernels of a small network take, 0.4 s are hidden where there are
two processors. llvmlite lets one thread at a time into LLVM, so a third would find no work, and
nothing on the calling thread's way asks LLVM for anything.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeAlias

from graphc.collector import age, paused
from graphc.forks import whole
from graphc.jit import llvm
from graphc.jit.llvm import binding
from graphc.jit.target import host, no_passes, passes
from graphc.jit.versions import explained
from graphc.build.interleave import interleaved
from graphc.emit.kernel import Kernel
from graphc.build.resident import release

release("libllvmlite")  # before compiling takes more

Work: TypeAlias = Future[tuple[bytes, float]]
"""Object code, and the seconds of work that it took."""


def begin(kernels: Mapping[str, Kernel]) -> dict[str, Work]:
    """Take kernels, named as their entry points will be, to LLVM; return its work on each."""
    beside = ThreadPoolExecutor(1, "graphc-llvm")
    try:
        with paused(), _TURNS.frequent():
            works = {}
            age()
            for name, kernel in kernels.items():
                start = time.perf_counter()
                with whole(), explained():
                    text = kernel.lower(name)
                works[name] = beside.submit(_finish, text, kernel, time.perf_counter() - start)
                gc.collect(0)  # llvmlite's graph of the kernel, which is circular
    except BaseException:
        beside.shutdown(cancel_futures=True)
        raise
    beside.shutdown(wait=False)
    return works


def compile_kernels(kernels: Mapping[str, Kernel]) -> dict[str, tuple[bytes, float]]:
    """Return object code and seconds of work for each kernel, by the name of its entry point."""
    return {name: work.result() for name, work in begin(kernels).items()}


def _finish(text: str, kernel: Kernel, seconds: float) -> tuple[bytes, float]:
    """Return the object code of a module in LLVM's language, and all seconds that it took."""
    start = time.perf_counter()
    with whole(), explained(), _TURNS.frequent():
        code: bytes = host().machine.emit_object(optimised(text, kernel))
    return code, seconds + time.perf_counter() - start


def optimised(text: str, kernel: Kernel) -> binding.ModuleRef:
    """Return a kernel in LLVM's language after LLVM's passes, or those of them that it needs.

    Loops over a block of rows, and other short ones, LLVM would write out before it looks for
    vectors. It takes up to four vectors at a time of loops with calls, which look cheaper than
    what they stand for: only where these can take turns, since a remainder is then as long.
    """
    module = binding.parse_assembly(text, context=binding.create_context())
    module.verify()
    versions = [f for f in module.functions if f.linkage == binding.Linkage.weak_odr]
    turns = not kernel.as_written and _straight(versions)
    if kernel.by_hand:
        manager, builder = _passes_by_hand()
    elif versions or kernel.as_written:
        manager, builder = passes(interleave=turns, unroll=False)
    else:
        manager, builder = passes()
    llvm.run(manager, module, builder)
    if versions:
        _inline(versions, module, builder)
    if turns:
        return binding.parse_assembly(interleaved(str(module)), context=binding.create_context())
    return module


def _straight(versions: list[binding.ValueRef]) -> bool:
    """Whether there are versions, all without a branch, so that vectors can take turns."""
    return bool(versions) and all(sum(1 for _ in f.blocks) == 1 for f in versions)


def _passes_by_hand() -> tuple[binding.ModulePassManager, binding.PassBuilder]:
    """Return the passes for code that is written by hand, vectors, unrolled loops and all.

    They fold constants, drop arguments that nobody reads, turn loops round and clean up. All of
    LLVM's take four times as long over products of matrices, which become no faster.
    """
    manager, builder = no_passes()
    manager.add_always_inliner_pass()
    manager.add_sroa_pass()
    manager.add_ipsccp_pass()
    manager.add_global_opt_pass()
    manager.add_dead_arg_elimination_pass()
    manager.add_simplify_cfg_pass()
    manager.add_loop_simplify_pass()
    manager.add_lcssa_pass()
    manager.add_loop_rotate_pass()
    manager.add_instruction_combine_pass()
    manager.add_new_gvn_pass()
    manager.add_jump_threading_pass()
    manager.add_instruction_combine_pass()
    manager.add_simplify_cfg_pass()
    return manager, builder


def _inline(versions: list[binding.ValueRef], module: binding.ModuleRef, builder: Any) -> None:
    """Put the versions of functions for vectors, which loops call by now, in place of the calls."""
    for function in versions:
        function.linkage = binding.Linkage.internal
    manager = binding.create_new_module_pass_manager()
    manager.add_always_inliner_pass()
    manager.add_instruction_combine_pass()
    manager.add_global_dead_code_eliminate_pass()
    llvm.run(manager, module, builder)


class _Turns:
    """How often threads change places: more often than every 5 ms while LLVM waits for Python."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open = 0
        self._interval = 0.0

    @contextmanager
    def frequent(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._lock:
            if not self._open:
                self._interval = sys.getswitchinterval()
            self._open += change
            sys.setswitchinterval(2e-4 if self._open else self._interval)

    def forget(self) -> None:
        """Start anew in a forked process, which has none of the threads that were counted."""
        if self._open:
            sys.setswitchinterval(self._interval)
        self._lock, self._open = threading.Lock(), 0


_TURNS = _Turns()

if os.name == "posix":
    os.register_at_fork(after_in_child=_TURNS.forget)
