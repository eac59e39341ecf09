"""The cache of compiled code as a user meets it: each case in processes of their own."""

from __future__ import annotations

import compileall
import os
import pickle
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from graphc.build import package as identity
from graphc.build.package import sources
from graphc.jit.store import Store

ROOT = Path(__file__).parents[2]

WORK = """
import sys
import numpy as np
import graphc as gx
from graphc import nn, optim
x, y = gx.input("x", (None, 4)), gx.input("y", (None, 1))
out = nn.Linear(4, 1)(gx.tanh(x))
model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                 optimizer=optim.SGD(0.1), seed=0)
X = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)
losses = [model.train_step(X, X[:, :1] * 2) for _ in range(3)]
report = model.report
print(report.cache_hits, report.cache_misses, "numba" in sys.modules, *losses)
"""


@pytest.fixture
def work(run_python, tmp_path):
    """Return a function that trains in a new process: (hits, misses, numba loaded, losses)."""

    def run(**variables):
        words = run_python(WORK, **variables).split()
        return int(words[0]), int(words[1]), words[2] == "True", words[3:]

    run.cache = tmp_path / "cache"
    return run


def entries(folder):
    return sorted(folder.glob("*.o"))


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a cache that one process has filled, and what that printed."""
    folder = tmp_path_factory.mktemp("filled") / "cache"
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(folder), "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", WORK],
        env=environment,
        timeout=600,
        check=True,
        capture_output=True,
        text=True,
    )
    return folder, done.stdout.split()


@pytest.fixture
def warm(work, filled):
    """Return ``work`` with a copy of the filled cache, its kernels and its losses."""
    folder, words = filled
    shutil.copytree(folder, work.cache)
    work.kernels, work.losses = int(words[1]), words[3:]
    assert (words[0], work.kernels > 3) == ("0", True)
    return work


def right(work, *, misses):
    """Run again: the losses must be the same and ``misses`` kernels be compiled."""
    found = work()
    assert found[3] == work.losses
    assert (found[0], found[1]) == (work.kernels - misses, misses)
    return found


def test_a_warm_start_compiles_nothing_and_does_not_load_numba(warm):
    assert right(warm, misses=0)[2] is False


def test_the_folder_is_private_and_holds_what_it_should(warm):
    assert stat.S_IMODE(warm.cache.stat().st_mode) == 0o700
    names = {p.name for p in warm.cache.iterdir()}
    assert names == {"modules", *(p.name for p in entries(warm.cache))}
    (module,) = (warm.cache / "modules").iterdir()
    assert "def train_step(m):" in module.read_text()


def damage(path, how):
    content = path.read_bytes()
    if how == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif how == "a bit flipped":
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 4]) + content[middle + 1 :])
    elif how == "garbage":
        path.write_bytes(os.urandom(5000))
    elif how == "empty":
        path.write_bytes(b"")
    elif how == "a folder":
        path.unlink()
        path.mkdir()
    else:
        path.unlink()


def test_damage_costs_a_recompile(warm):
    kinds = ["truncated", "a bit flipped", "garbage", "empty", "deleted"]
    for number, path in enumerate(entries(warm.cache)):
        damage(path, kinds[number % len(kinds)])
    assert warm.kernels >= len(kinds)
    for path in (warm.cache / "modules").iterdir():
        damage(path, "garbage")
    right(warm, misses=warm.kernels)
    right(warm, misses=0)  # and it has been mended


def test_a_folder_where_an_entry_should_be(warm):
    damage(entries(warm.cache)[0], "a folder")
    found = warm()
    assert found[3] == warm.losses


def test_an_entry_of_another_kernel_is_refused(warm):
    first, second, *_ = entries(warm.cache)
    first.write_bytes(second.read_bytes())
    assert warm()[3] == warm.losses


def test_a_planted_pickle_is_never_opened(warm, tmp_path):
    sign = tmp_path / "opened"

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (sign,))

    for path in entries(warm.cache):
        path.write_bytes(pickle.dumps(Bomb()))
        path.with_suffix(".nbc").write_bytes(pickle.dumps(Bomb()))
        path.with_suffix(".nbi").write_bytes(pickle.dumps(Bomb()))
    right(warm, misses=warm.kernels)
    assert not sign.exists()


def test_planted_modules_are_not_executed(warm):
    for path in (warm.cache / "modules").iterdir():
        path.write_text("raise SystemExit('planted')")
    right(warm, misses=0)


def test_a_cache_path_that_is_a_file(work, tmp_path):
    (tmp_path / "cache").write_text("a file")
    assert work()[1] > 3
    assert (tmp_path / "cache").read_text() == "a file"


def test_a_cache_below_a_file(work, tmp_path):
    (tmp_path / "file").write_text("a file")
    assert work(GRAPHC_CACHE_DIR=str(tmp_path / "file" / "cache"))[1] > 3


def test_open_modes_are_closed(warm):
    warm.cache.chmod(0o777)
    right(warm, misses=0)
    assert stat.S_IMODE(warm.cache.stat().st_mode) == 0o700


@pytest.mark.skipif(
    os.name != "posix" or os.getuid() != 0, reason="only root can give a folder away"
)
@pytest.mark.parametrize("mode", [0o700, pytest.param(0o777, marks=pytest.mark.slow)])
def test_a_folder_of_another_user_is_not_used(warm, mode):
    os.chown(warm.cache, 65534, 65534)
    warm.cache.chmod(mode)
    for path in entries(warm.cache):
        path.write_bytes(b"planted")
    right(warm, misses=warm.kernels)
    assert {p.read_bytes() for p in entries(warm.cache)} == {b"planted"}
    assert stat.S_IMODE(warm.cache.stat().st_mode) == mode


@pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give a file away")
def test_an_entry_of_another_user_is_not_used(warm):
    os.chown(entries(warm.cache)[0], 65534, 65534)
    warm()
    found = warm()
    assert found[3] == warm.losses
    assert entries(warm.cache)[0].stat().st_uid == 0  # written again, by us


def test_a_foreign_folder_or_entry_is_refused(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")
    store.write("key", "what", b"code")
    assert store.read("key", "what") == b"code"
    monkeypatch.setattr(os, "getuid", lambda: tmp_path.stat().st_uid + 1)
    assert store.read("key", "what") is None
    assert not Store(tmp_path / "store").usable


def test_a_read_only_or_full_disk_is_no_error(tmp_path, monkeypatch):
    store = Store(tmp_path / "store")

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        store.write("key", "what", b"code")
    assert store.read("key", "what") is None
    assert not list((tmp_path / "store").iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        store.write("key", "what", b"code")
    (tmp_path / "store").rmdir()
    store.write("key", "what", b"code")
    assert store.read("key", "what") is None


def test_a_cache_deleted_while_in_use(run_python):
    script = WORK + (
        "import shutil, os\n"
        "shutil.rmtree(os.environ['GRAPHC_CACHE_DIR'])\n"
        "model.predict(X)\n"
        "f = gx.function([x], gx.exp(x) * 3)\n"
        "print(f(X)[0, 0], f.source_path.exists())\n"
    )
    assert run_python(script).count("\n") == 2


def test_two_processes_compile_at_once(tmp_path):
    environment = {
        **os.environ,
        "GRAPHC_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": str(ROOT),
    }
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", WORK],
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for _ in range(2)
    ]
    found = [process.communicate(timeout=600) for process in pair]
    assert [p.returncode for p in pair] == [0, 0], found
    words = [out.split() for out, _ in found]
    assert words[0][3:] == words[1][3:]
    assert not [p for p in (tmp_path / "cache").iterdir() if p.name.startswith(".")]


OTHER = {
    "NUMBA_CPU_NAME": "" if os.environ.get("NUMBA_CPU_NAME") == "generic" else "generic",
    "NUMBA_CPU_FEATURES": "",
}
"""Another processor than the one that the tests are told to be on, whose code runs everywhere."""


def test_numbas_options_are_part_of_the_key(warm):
    """A processor described otherwise must not run what was compiled for this one."""
    found = warm(**OTHER)
    assert found[0] == 0
    right(warm, misses=0)


def test_a_pipe_among_the_entries_is_passed_over(warm):
    first, second, *_ = entries(warm.cache)
    for path in (first, second):
        path.unlink()
        os.mkfifo(path)
    right(warm, misses=2)


def test_a_pipe_where_a_module_should_be(warm):
    (path,) = (warm.cache / "modules").iterdir()
    path.unlink()
    os.mkfifo(path)
    right(warm, misses=0)
    assert "def train_step(m):" in path.read_text()


def test_an_entry_of_other_work_under_the_same_name_is_refused(tmp_path):
    store = Store(tmp_path / "store")
    store.write("key", "what", b"code")
    assert store.read("key", "what else") is None
    assert store.read("ke", "ywhat") is None


@pytest.mark.parametrize(
    "variable", ["GRAPHC_CACHE_DIR", pytest.param("XDG_CACHE_HOME", marks=pytest.mark.slow)]
)
def test_the_folder_may_start_at_home(run_python, tmp_path, variable):
    given = {"GRAPHC_CACHE_DIR": None, variable: "~/kept", "HOME": str(tmp_path / "home")}
    run_python(WORK, **given)
    folder = tmp_path / "home" / "kept"
    assert entries(folder if variable == "GRAPHC_CACHE_DIR" else folder / "graphc")
    assert not list(tmp_path.glob("~*"))


def test_a_user_without_a_home(run_python, tmp_path):
    """As in containers that run under a number: no HOME, and nobody of that number is known."""
    nobody = (
        "import pwd\n"
        "def unknown(*_): raise KeyError('no such user')\n"
        "pwd.getpwuid = pwd.getpwnam = unknown\n"
    )
    variables = {"GRAPHC_CACHE_DIR": None, "XDG_CACHE_HOME": None, "HOME": None}
    (tmp_path / "temporary").mkdir()
    run_python(nobody + WORK, TMPDIR=str(tmp_path / "temporary"), **variables)
    assert entries(tmp_path / "temporary" / f"graphc-{os.getuid()}" / "graphc")
    run_python(nobody + WORK, **{**variables, "GRAPHC_CACHE_DIR": "~/cache"})


# -- what a key depends on -------------------------------------------------------------------------


@pytest.fixture
def package(tmp_path):
    """Return the folder of a copy of the package, which tests change."""
    shutil.copytree(ROOT / "graphc", tmp_path / "copy" / "graphc")
    return tmp_path / "copy" / "graphc"


def test_the_key_depends_on_every_module(package, monkeypatch):
    monkeypatch.setattr(identity, "IMPORTED", 1 << 63)  # later than any change
    before = sources(package)
    assert before == sources(ROOT / "graphc")
    modules = sorted(package.rglob("*.py"))
    assert len(modules) > 150
    for path in modules:
        content = path.read_bytes()
        path.write_bytes(content + b"\nADDED = 1\n")
        assert sources(package) != before, path
        path.write_bytes(content)
    modules[-1].rename(modules[-1].with_name("renamed.py"))
    assert sources(package) != before


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("codegen/product.py", "SUM, UPDATE = 8, 16", "UPDATE, SUM = 8, 16"),
        pytest.param(
            "ops/random.py", "PARITY = 0x1BD11BDA", "PARITY = 0x1BD11BDB", marks=pytest.mark.slow
        ),
        pytest.param("plan/fusion.py", "CHEAP = 4.0", "CHEAP = 5.0", marks=pytest.mark.slow),
    ],
)
def test_a_changed_constant_is_compiled(warm, package, run_python, module, old, new):
    """Of a module outside the runtime: products had taken the form of a call for another."""
    path = package / module
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))
    words = run_python(f"import sys; sys.path.insert(0, {str(package.parent)!r})\n" + WORK).split()
    assert (words[0], int(words[1])) == ("0", warm.kernels)
    assert words[3:] == warm.losses


EXCHANGED = (
    "from pathlib import Path\n"
    "path = Path(graphc.__file__).parent / 'codegen' / 'product.py'\n"
    "text = path.read_text()\n"
    "path.write_text(text.replace('SUM, UPDATE = 8, 16', 'UPDATE, SUM = 8, 16'))\n"
)


def test_what_changed_after_it_was_imported_is_not_stored_as_what_it_is_now(
    warm, package, run_python
):
    """An upgrade below a running process: what that compiles is of the version before."""
    first = f"import sys; sys.path.insert(0, {str(package.parent)!r})\nimport graphc\n"
    words = run_python(first + EXCHANGED + WORK).split()
    assert (words[0], words[3:]) == ("0", warm.losses)
    words = run_python(first + WORK).split()
    assert (words[0], words[3:]) == ("0", warm.losses)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["archive", "byte code"])
def test_a_package_without_sources(warm, package, run_python, tmp_path, kind):
    """Of which the key must know as much."""
    for version in (1, 2):
        if version == 2:
            path = package / "codegen" / "product.py"
            text = path.read_text()
            path.write_text(text.replace("SUM, UPDATE = 8, 16", "UPDATE, SUM = 8, 16"))
        where = tmp_path / f"{kind}{version}"
        if kind == "archive":
            where = Path(shutil.make_archive(str(where), "zip", package.parent))
        else:
            shutil.copytree(package.parent, where)
            shutil.rmtree(where / "graphc" / "__pycache__", ignore_errors=True)
            compileall.compile_dir(where, legacy=True, quiet=1, ddir="elsewhere")
            for path in where.rglob("*.py"):
                path.unlink()
        first = f"import sys; sys.path.insert(0, {str(where)!r})\n"
        for hits in ("0", str(warm.kernels)):
            words = run_python(first + WORK).split()
            assert (words[0], words[3:]) == (hits, warm.losses)


def test_another_second_cache_is_another_machine(warm, run_python, tmp_path):
    folder = tmp_path / "sys" / "index2"
    folder.mkdir(parents=True)
    for name, value in (("level", "2"), ("type", "Unified"), ("size", "4096K")):
        (folder / name).write_text(value)
    machine = (
        "from pathlib import Path\n"
        "from graphc import machine\n"
        f"machine.SYSFS = Path({str(tmp_path / 'sys')!r})\n"
    )
    assert run_python(machine + WORK, GRAPHC_MACHINE="").split()[0] == "0"
    for other in ("l2=6M", "l1=24K,l2=6m"):
        assert run_python(WORK, GRAPHC_MACHINE=other).split()[0] == "0"
    right(warm, misses=0)


# -- names that clash ------------------------------------------------------------------------------

CLASH = """
import graphc.codegen.kernel, graphc.emit.kernel
graphc.codegen.kernel.DIGITS = graphc.emit.kernel.DIGITS = {digits}
""" + WORK  # fmt: skip


@pytest.mark.parametrize(
    ("digits", "plain"),
    [(0, False), *(pytest.param(*p, marks=pytest.mark.slow) for p in [(1, False), (0, True)])],
)
def test_digests_that_clash(warm, run_python, tmp_path, digits, plain):
    """Cut to one digit or none, names are equal; what is computed is not, in memory or on disk."""
    variables = {"NUMBA_DISABLE_JIT": "1"} if plain else {}
    folder = str(tmp_path / "clashes")
    for _ in range(2):
        words = run_python(CLASH.format(digits=digits), GRAPHC_CACHE_DIR=folder, **variables)
        found = [float(loss) for loss in words.split()[3:]]
        assert found == pytest.approx([float(loss) for loss in warm.losses], rel=1e-6)


# -- why a kernel was compiled ---------------------------------------------------------------------

REASONS = WORK + "print('|'.join(sorted({source for _, source, _ in report.loads})))\n"


def reasons(run_python, **variables):
    return set(run_python(REASONS, **variables).splitlines()[1].split("|"))


def test_reports_say_where_kernels_came_from(warm, run_python):
    assert reasons(run_python) == {"disk"}
    damage(entries(warm.cache)[0], "truncated")
    damage(entries(warm.cache)[1], "deleted")
    assert reasons(run_python) == {"disk", "compiled: damaged, or of another user", "compiled: new"}
    assert reasons(run_python, **OTHER) == {"compiled: stored for another version or machine"}


def test_reports_say_that_there_is_no_folder(run_python, tmp_path):
    (tmp_path / "file").write_text("a file")
    found = reasons(run_python, GRAPHC_CACHE_DIR=str(tmp_path / "file" / "cache"))
    assert found == {"compiled: no private folder"}
