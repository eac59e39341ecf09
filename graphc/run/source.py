"""A generated module from text to Python: written for people, executed from memory.

Kernels first: they can be compiled while Python compiles what calls them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType

from graphc.codegen.kernel import KernelCall
from graphc.codegen.module import Module
from graphc.config import NUMBA, options
from graphc.emit import products
from graphc.emit.kernel import NUMBERS, GeneratedKernel, Kernel, SteppingKernel
from graphc.files import write_whole
from graphc.jit.choice import compiler
from graphc.plan.program import Call
from graphc.schedule import epoch


def write_source(module: Module) -> Path:
    """Write the module's text to a file named by its content, for debuggers and tracebacks."""
    folder = options().cache_path() / "modules"
    path = folder / f"graphc_{module.digest}.py"
    content = module.text.encode()
    with suppress(OSError):  # the text runs without its file
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != content:  # a pipe would wait for a writer
            write_whole(path, content)
    return path


def define_kernels(path: Path, module: Module, *, plain: bool) -> ModuleType:
    """Return the module after its kernels, of the text (not what may stand in the file by now).

    What is compiled is named only: the text of its kernels is then for readers.
    """
    result = ModuleType(path.stem)
    result.__file__ = str(path)
    if plain:
        exec(compile(module.head, str(path), "exec"), result.__dict__)
    else:
        names = {name: getattr(shipped_in(name), name) for name in module.shipped}
        kernels = {name: GeneratedKernel(text) for name, text in module.kernels.items()}
        result.__dict__.update({**NUMBERS, **names, **kernels})
    return result


def shipped_in(name: str) -> ModuleType:
    """Return the module of a kernel that ships with graphc."""
    return products if hasattr(products, name) else epoch


def define_functions(into: ModuleType, module: Module) -> None:
    """Execute the rest, which stands behind the kernels."""
    before = "\n" * module.head.count("\n")
    exec(compile(before + module.functions, str(into.__file__), "exec"), into.__dict__)


def alone_in_loops(calls: Sequence[Call], kernels: Sequence[KernelCall]) -> set[str]:
    """Return the names of generated kernels each of which is all that some loop calls.

    None where Numba compiles, which knows no other way to call a kernel.
    """
    if compiler() == NUMBA:
        return set()
    within = Counter(loop for call in calls for loop in call.loops)
    return {
        kernel.name
        for call, kernel in zip(calls, kernels, strict=True)
        if call.loops and within[call.loops[-1]] == 1 and not kernel.guards
    }


def kernels_of(module: ModuleType, alone: Collection[str] = ()) -> list[Kernel]:
    """Return the kernels that a module calls, in the order in which to compile them.

    Those that are ``alone`` in a loop are there with the loop, too. What takes LLVM longest comes
    last: while Python compiles the functions, no thread that needs Python goes on.
    """
    found = [v for v in vars(module).values() if type(v) in (Kernel, GeneratedKernel)]
    steps = [SteppingKernel(k) for k in found if isinstance(k, GeneratedKernel) and k.name in alone]
    return sorted([*found, *steps], key=lambda kernel: kernel.by_hand)
