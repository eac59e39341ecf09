"""A generated module from text to Python: written for people, executed from memory.

Kernels first: they can be compiled while Python compiles what calls them.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from types import ModuleType

from graphc.codegen.module import Module
from graphc.config import options
from graphc.files import write_whole
from graphc.runtime.kernel import Kernel


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


def define_kernels(path: Path, module: Module) -> ModuleType:
    """Return the module after its kernels, of the text (not what may stand in the file by now)."""
    result = ModuleType(path.stem)
    result.__file__ = str(path)
    exec(compile(module.head, str(path), "exec"), result.__dict__)
    return result


def define_functions(into: ModuleType, module: Module) -> None:
    """Execute the rest, which stands behind the kernels."""
    before = "\n" * module.head.count("\n")
    exec(compile(before + module.functions, str(into.__file__), "exec"), into.__dict__)


def kernels_of(module: ModuleType) -> list[Kernel]:
    """Return the kernels that a module calls, in the order in which to compile them.

    What takes LLVM longest comes last: while Python compiles the functions, no thread that needs
    Python goes on.
    """
    # Not isinstance: that would execute the lazy modules among the values.
    found = [v for v in vars(module).values() if type(v) is Kernel]
    return sorted(found, key=lambda kernel: kernel.by_hand)
