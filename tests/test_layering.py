"""The order of the layers: each module imports only from those before its own."""

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import graphc
from graphc.ir.op import OPS

ROOT = Path(graphc.__file__).parent
MODULES = sorted(ROOT.rglob("*.py"))

_base = {"errors", "dims", "types", "convert", "config", "tree", "lazy", "files", "collector",
         "sealed", "synonyms", "forks", "cached"}  # fmt: skip
_symbols = _base | {"ir", "ops"}
_compiler = _symbols | {"passes", "plan", "codegen", "run", "compile"}
_training = _symbols | {"autodiff", "nn", "optim", "io", "compile", "run", "feeds"}
SEES = {
    **dict.fromkeys(_base, _base),
    "ir": _base | {"kernel"},
    "ops": _base | {"ir", "kernel"},
    "autodiff": _symbols,
    "passes": _symbols,
    "plan": _symbols | {"passes", "machine"},
    "kernel": _base,
    "codegen": _symbols | {"passes", "plan", "machine", "kernel", "print"},
    "print": _base | {"jit", "machine", "kernel"},
    "jit": _base,
    "machine": _base | {"jit"},
    "emit": _symbols | {"codegen", "jit", "kernel", "machine", "print"},
    "build": _base | {"emit", "jit", "machine", "print"},
    "schedule": _symbols | {"codegen", "emit", "kernel", "machine"},
    "run": _symbols
    | {"passes", "plan", "codegen", "print", "emit", "build", "schedule", "machine", "jit"},
    "compile": _compiler,
    "feeds": _symbols,
    "functions": _compiler | {"feeds"},
    "linalg": _symbols,
    "nn": _symbols,
    "optim": _symbols,
    "io": _symbols,
    "train": _training,
    "viz": _symbols,
}
"""What each part of the package may import; the names missing here are the ends that see all."""

ONLY_IN = {"numba": ("jit/numba.py",), "llvmlite": ("jit/llvm.py",), "networkx": ("ir", "viz"),
           "pygraphviz": ("viz",), "tqdm": ("train",)}  # fmt: skip

GENERIC = [
    *ROOT.glob("plan/*.py"), *ROOT.glob("codegen/*.py"),
    *(ROOT / f"passes/{name}.py" for name in ("cse", "dce", "expand", "fold", "pipeline")),
]  # fmt: skip
"""Parts that know ops by trait; the passes not named here are rules about certain ops."""

SHARED_WORDS = {"constant", "input", "max", "min", "parameter"}
"""Names of ops that are also kinds of buffers or functions on dimensions."""


def part(module):
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(tree):
    """Yield the statement and dotted name of each import, those for type checkers left out."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    typing = [n for b in blocks if ast.unparse(b.test) == "TYPE_CHECKING" for n in ast.walk(b)]
    for node in (n for n in ast.walk(tree) if n not in typing):
        if isinstance(node, ast.ImportFrom):
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(LATE):
            yield from ((top_of(tree, node), n.value) for n in node.args if is_text(n))


LATE = ("lazy_module", "import_module")
"""Functions that import a module by its name."""


def is_text(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def top_of(tree, node):
    """Return the statement of the module that ``node`` is part of."""
    return next(s for s in tree.body if any(n is node for n in ast.walk(s)))


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_imports_only_what_is_below(module):
    own, tree = part(module), ast.parse(module.read_text())
    top = tree.body
    for node, name in imports(tree):
        first, *rest = name.split(".")
        if first == "graphc" and own in SEES:
            assert rest[0] in SEES[own] | {own}, f"{own} may not import {name}"
        if first in ONLY_IN:
            places = {own, str(module.relative_to(ROOT))}
            assert places & set(ONLY_IN[first]), f"{first} belongs to {ONLY_IN[first]}"
        optional = any(isinstance(b, (ast.Try, ast.With)) and node in b.body for b in top)
        late = node not in top and not optional
        assert not late or own == "__main__", f"{name} is imported late, line {node.lineno}"


BELOW = [m for m in MODULES if part(m) in ("emit", "build", "schedule", "run")]


@pytest.mark.parametrize("module", BELOW, ids=lambda m: str(m.relative_to(ROOT)))
def test_what_libraries_keep_private_is_left_to_the_doors(module):
    text = module.read_text()
    attributes = [n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Attribute)]
    private = [n for n in attributes if re.match("_[a-z]", n.attr)]
    foreign = [ast.unparse(n) for n in private if ast.unparse(n.value) not in ("self", "cls")]
    ours = r"(self\.|cls\.|def |    |slots.*\"){}\b"
    assert not [n for n in foreign if not re.search(ours.format(n.split(".")[-1]), text)]


LOCKS = {
    "functools.cached_property",
    *(f"threading.{n}" for n in ("Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore")),
}
"""What holds a lock; Python's cached properties do before 3.12."""


def locks(tree):
    """Return what a module makes that holds a lock, unless it makes it anew after a fork."""
    attributes = {ast.unparse(n) for n in ast.walk(tree) if isinstance(n, ast.Attribute)}
    made = LOCKS & (attributes | {name for _, name in imports(tree)})
    return set() if "os.register_at_fork" in attributes else made


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_no_lock_is_left_held_in_a_forked_process(module):
    found = locks(ast.parse(module.read_text()))
    assert not found, f"{found}: take forks.lock(), or one of graphc.cached"


def test_locks_are_found():
    for text in ("from functools import cached_property", "import functools, threading\n"
                 "@functools.cached_property\ndef f(self): ...", "import threading\n"
                 "x = threading.Lock()", "from threading import Condition"):  # fmt: skip
        assert len(locks(ast.parse(text))) == 1


@pytest.mark.parametrize("module", GENERIC, ids=lambda m: str(m.relative_to(ROOT)))
def test_generic_parts_name_no_ops(module):
    tree = ast.parse(module.read_text())
    classes = {op.__name__ for op in OPS.values() if op.__module__.startswith("graphc.ops")}
    assert not [name for _, name in imports(tree) if name.split(".")[-1] in classes]
    text = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant)}
    assert not (set(OPS) & {t for t in text if isinstance(t, str)}) - SHARED_WORDS


def imported(code):
    """Return the names of the modules that ``code`` loads in a new process."""
    code = f"import sys; before = set(sys.modules)\n{code}\nprint(*{{*sys.modules}} - before)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def lines(modules):
    found = [find_spec(name).origin for name in modules if name.split(".")[0] == "graphc"]
    return sum(Path(file).read_text().count("\n") for file in found)


def parts(*names):
    return {f"graphc.{name}" for name in names}


HEAVY = {"numba", "llvmlite.binding.ffi", "networkx.classes", "pygraphviz.agraph", "sklearn"}
COSTLY = {"tempfile", "random", "statistics", "decimal", "hashlib", "_hashlib", "difflib",
          "json", "logging", "asyncio", "importlib.metadata", "email"}  # fmt: skip
"""Without bytecode of graphc's, Python reads and compiles its text: 10 ms for a thousand lines."""


def test_import_loads_what_every_script_needs_and_no_more():
    found = imported("import graphc")
    assert not found & (HEAVY | COSTLY | {"numpy"} | parts("ops", "ir", "types"))
    assert lines(found) < 900


def test_a_first_tensor_loads_no_compiler():
    found = imported("import numpy, graphc as gx; gx.relu(gx.input('x', (2,)))")
    assert not found & (HEAVY | parts("autodiff", "compile", "nn", "optim", "train", "viz"))
    assert not found & parts("jit", "passes", "plan", "codegen", "emit", "build", "schedule", "run")
    numpy = imported("import numpy")
    assert not (found - numpy) & COSTLY
    assert lines(found) < 17_000


ABOUT_SHAPES = re.compile(
    "shape|axis|axes|dimension|rows|broadcast|length|size|scalar|operand|array|2-d|square|empty"
    "|element|channels|results|do not fit together|has another type|the gradient of"
)


@pytest.mark.parametrize("module", MODULES, ids=lambda m: str(m.relative_to(ROOT)))
def test_errors_of_shape_speak_of_shapes(module):
    """Other values that an argument cannot have are ArgumentErrors."""
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "ShapeError":
            said = " ".join(n.value for a in node.args for n in ast.walk(a) if is_text(n))
            passed_on = said in ("", ":  \n  at ")
            assert passed_on or ABOUT_SHAPES.search(said), said


LONG_FILES = {
    "ir/op.py": 480, "ir/tensor.py": 520, "ops/__init__.py": 600,
    "plan/planner.py": 630,
}  # fmt: skip
LONG_FUNCTIONS = {"emit/tiles/driver.py:emit_sweep": 78, "train/model.py:fit": 80}
"""What is longer than a sitting yet, and how long it may be: a list that only gets shorter."""


def test_each_file_is_read_in_a_sitting():
    lengths = {p.relative_to(ROOT).as_posix(): p.read_text().count("\n") for p in MODULES}
    long = {path: n for path, n in lengths.items() if n > LONG_FILES.get(path, 400)}
    assert not long, "split these by meaning"
    assert all(lengths.get(path, 0) > 400 for path in LONG_FILES), "some are short by now"


def test_each_function_is_seen_whole():
    lengths = {
        f"{path.relative_to(ROOT).as_posix()}:{node.name}": node.end_lineno - node.lineno + 1
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    long = {name: n for name, n in lengths.items() if n > LONG_FUNCTIONS.get(name, 60)}
    assert not long, "split these by meaning"
    assert all(lengths.get(name, 0) > 60 for name in LONG_FUNCTIONS), "some are short by now"
