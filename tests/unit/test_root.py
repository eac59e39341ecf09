"""Names of ``graphc`` itself, which are imported when they are first used."""

import ast
import pickle
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import graphc as gx
from graphc import ops

TEXT = Path(gx.__file__).read_text()


def run(code):
    """Run ``code`` in a new process, and return what it prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def declared():
    """Return the names that type checkers see, and where each comes from."""
    block = next(s for s in ast.parse(TEXT).body if isinstance(s, ast.If))
    return {
        alias.asname: (statement.module, alias.name)
        for statement in block.body
        for alias in statement.names
        if alias.name != "*"
    }


def test_lazy_names_are_those_that_type_checkers_see():
    modules = {name: tuple(full.rsplit(".", 1)) for name, full in gx._MODULES.items()}
    names = {name: (module, name) for name, module in gx._NAMES.items()}
    assert declared() == modules | names
    assert set(gx.__all__) == {"config", *modules, *names, *ops.__all__}
    assert "from graphc.ops import *" in TEXT


def test_every_name_is_there():
    for name in gx.__all__:
        value = getattr(gx, name)
        if name in gx._NAMES:
            assert value.__module__ == gx._NAMES[name]
        assert name not in ops.__all__ or value is getattr(ops, name)
        assert vars(gx)[name] is value, "the second use costs what any attribute does"


def test_no_lazy_name_is_that_of_a_module_beside_it():
    """Importing that module would put it in the name's place."""
    submodules = {m.name for m in pkgutil.iter_modules(gx.__path__)}
    assert submodules & {*gx._NAMES, *ops.__all__} == set()
    assert all(gx._MODULES[name] == f"graphc.{name}" for name in submodules & {*gx._MODULES})


def test_dir_and_star_know_all_names_from_the_start():
    print_dir = "import graphc as gx; print(*dir(gx))"
    assert {*gx.__all__, "__version__"} <= set(run(print_dir).split())
    print_star = "from graphc import *; print(*globals())"
    assert set(gx.__all__) <= set(run(print_star).split())


@pytest.mark.parametrize(
    "code",
    [
        "from graphc import relu; print(relu.__name__)",
        "import graphc.ops; print(graphc.ops.relu.__name__)",
        "from graphc import ops; print(ops.relu.__name__)",
        "import graphc.functions, graphc as gx; gx.function; print('relu')",
        "import graphc.nn.activation as a; print(a.ReLU.__name__.lower())",
        "from graphc.ir.source import input; (input('x', ()) + 1).op; print('relu')",
        "from graphc.ir.op import OPS, ENTRIES; OPS['add']; print(ENTRIES['relu'].name)",
        "from graphc.ir.op import OPS; assert 'exp' in OPS and len(OPS) > 50; print('relu')",
        "import graphc, doctest; doctest.testmod(graphc); print('relu')",
        "import graphc, pydoc; assert 'relu' in pydoc.render_doc(graphc); print('relu')",
        "import graphc, inspect; inspect.getmembers(graphc); inspect.unwrap(graphc); print('relu')",
    ],
)
def test_first_uses(code):
    assert run(code) == "relu"


def test_pickles_are_read_where_nothing_was_imported():
    x = gx.input("x", (2,))
    pickled = pickle.dumps([x, gx.function(x, x + 1), gx.relu, gx.Tensor])
    code = (
        f"import pickle; x, f, relu, _ = pickle.loads({pickled!r}); print((-x).op.name, f([1, 2]))"
    )
    assert run(code) == "negative [2. 3.]"


def test_threads_that_import_at_once():
    code = """
import sys, threading
sys.setswitchinterval(1e-6)
import graphc as gx
names = ["Model", "relu", "nn", "grad", "input", "function", "optim", "jvp", "visualize", "ops"]
start, wrong = threading.Barrier(len(names)), []
def use(name):
    start.wait()
    try:
        getattr(gx, name)
        x = gx.input("x", (2,))
        gx.nn.ReLU()(x) + 1
        gx.grad(gx.sum(x * x), [x])
    except BaseException as problem:
        wrong.append(repr(problem))
threads = [threading.Thread(target=use, args=[name]) for name in names]
[t.start() for t in threads]; [t.join() for t in threads]
print(wrong)
"""
    for _ in range(3):
        assert run(code) == "[]"


def test_lines_are_the_users_at_the_first_use(tmp_path):
    script = tmp_path / "user.py"
    script.write_text(
        "import graphc as gx\n\nx = gx.input('x', (2,))\ny = gx.relu(x)\nprint(x.loc, y.loc)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [f"{script}:3", f"{script}:4"]


@pytest.mark.parametrize(
    ("name", "said"),
    [("concatenate", "use gx.concat"), ("Dense", "nn.Linear"), ("sofmax", "gx.softmax"),
     ("_private", "no '_private'")],
)  # fmt: skip
def test_names_that_there_are_not(name, said):
    code = f"import graphc as gx\ntry: gx.{name}\nexcept AttributeError as e: print(e)"
    assert said in run(code)
    code = f"try: from graphc import {name}\nexcept ImportError as e: print(e)"
    assert name in run(code)


USER = """
import graphc as gx
from graphc import Model, config, nn, relu

x = gx.input("x", (None, 2))
y: gx.Tensor = relu(x) + gx.exp(x)
f: gx.Function = gx.function(x, y)
layer = gx.nn.Linear(2, 3)
out = layer(x)
model: Model = gx.Model(inputs=x, outputs=out, loss=nn.mse_loss(out, y), optimizer=gx.optim.SGD())
with config(threads=1):
    gx.callbacks.EarlyStopping
reveal_type(gx.grad)
gx.no_such_name
"""


@pytest.mark.slow
def test_type_checkers_see_every_name(tmp_path):
    pytest.importorskip("mypy")
    script = tmp_path / "user.py"
    script.write_text(USER)
    root = Path(gx.__file__).parents[1]
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(script)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=root)
    errors = [line for line in done.stdout.splitlines() if "error:" in line]
    assert [e for e in errors if '"no_such_name"' in e] == errors != [], done.stdout
    assert 'Revealed type is "def (' in done.stdout
