"""llvmlite and Numba behind their doors: what a version lacks is named, with those that work."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import pytest

from graphc.build import native
from graphc.errors import VersionError
from graphc.jit import llvm, numba, versions
from graphc.lazy import loaded

ROOT = Path(__file__).parents[2]
NEEDED = [
    pytest.param(door, owner, name, id=f"{getattr(owner, '__name__', owner)}.{name}")
    for door in (llvm, numba)
    for owner, names in door.NEEDED
    for name in names.split()
]
native = loaded(native)


def reopened(monkeypatch, door):
    package, _, name = door.__name__.rpartition(".")
    monkeypatch.setattr(sys.modules[package], name, door)  # importing puts another there
    monkeypatch.delitem(sys.modules, door.__name__)
    monkeypatch.setattr(door.__name__, door)  # importing it again sets this too
    return import_module(door.__name__)


@pytest.mark.parametrize(("door", "owner", "name"), NEEDED)
def test_what_is_missing_is_named(monkeypatch, door, owner, name):
    *path, last = name.split(".")
    holder = attrgetter(".".join(path))(owner) if path else owner
    bases = holder.__mro__ if inspect.isclass(holder) else []
    for each in [base for base in bases if last in vars(base)] or [holder]:
        monkeypatch.delattr(each, last)
    with pytest.raises(VersionError, match=rf"\b{last}\b.*\n  pip install .numba>="):
        reopened(monkeypatch, door).check()


@pytest.mark.parametrize("version", ["0.9", "0.61.2", "0.62rc1"])
def test_an_old_version_is_refused(version):
    with pytest.raises(VersionError, match="too old") as caught:
        versions.check(version)
    assert str(caught.value).count("pip install") == 1


USE = """
import warnings
import graphc as gx
x = gx.input("x", (None, 3))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    for result in (x @ x.T, gx.exp(x), x.sum()):
        f = gx.function(x, result)
        f([[1.0, 2.0, 3.0]])
"""


@pytest.mark.parametrize("name", ["create_new_module_pass_manager", "ObjectFileRef.from_data",
                                  "newpassmanagers.NewPassManager._dispose"])  # fmt: skip
def test_where_llvmlite_lacks_a_name_numba_compiles_and_one_warning_says_so(run_python, name):
    run_python(
        f"""
import llvmlite.binding
del llvmlite.binding.{name}
{USE}
(warning,) = caught
said = str(warning.message)
assert warning.category is RuntimeWarning
assert "{name.rpartition(".")[2]}" in said and "numba.cfunc compiles kernels" in said, said
assert 'pip install "numba>=' in said and "at <string>:" in said, said
assert {{source for _, source, _ in f.report.loads}} <= {{"numba", "memory"}}, f.report.loads
"""
    )


def test_where_numba_is_too_old_its_public_part_compiles(run_python):
    run_python(
        f"""
from graphc.jit import versions
versions.OLDEST = "99.0"
{USE}
(warning,) = caught
assert "it is too old" in str(warning.message) and "at <string>:" in str(warning.message)
assert "numba" in [source for _, source, _ in f.report.loads]
"""
    )


def test_the_error_is_the_compilers_and_import_graphc_works(run_python):
    run_python(
        """
import llvmlite.binding
import numba
del llvmlite.binding.create_pass_builder, numba.cfunc
import graphc as gx
x = gx.input("x", (3,))
try:
    gx.function(x, gx.exp(x))([1.0, 2.0, 3.0])
except ImportError as error:
    assert isinstance(error, gx.errors.VersionError), error
    assert "cfunc" in str(error) and "compiles with numba" in str(error), error
else:
    raise AssertionError("compiled")
"""
    )


@pytest.mark.parametrize(("version", "noted"), [("0.99.0", True), (versions.NEWEST, False)])
def test_an_error_under_a_newer_version_says_so(monkeypatch, version, noted):
    class Failing:
        def lower(self, entry):
            raise TypeError("unexpected keyword")

    monkeypatch.setattr(versions, "installed", lambda library: version)
    with pytest.raises(TypeError) as caught:
        native.begin({"k": Failing()})
    notes = getattr(caught.value, "__notes__", [])
    assert notes == noted * [
        f"graphc was tested with numba {versions.OLDEST} to {versions.NEWEST}; this is 0.99.0"
    ]


PROCESSOR = "+avx512f,+avx512dq,+avx512vl,+avx512bw,+avx2,+avx,+fma,+sse2,+sse4.2,+bmi2,+f16c"


def test_functions_for_whole_registers_compile_for_any_host(run_python):
    """Their text goes to LLVM twice, and attributes added to what LLVM has read may be misread."""
    run_python(
        """
from tests.kernels import elementwise, optimised

for name in ("tanh", "exp", "log", "erfc", "expm1", "sin"):
    for real in ("float32", "float64"):
        code = optimised(elementwise(name, real))
        calls = [line for line in code.splitlines() if "call" in line and f"graphc.{name}" in line]
        assert not [line for line in calls if " x " in line and "rare" not in line], calls
""",
        NUMBA_CPU_NAME="skylake-avx512",
        NUMBA_CPU_FEATURES=PROCESSOR,
    )


def test_the_oldest_versions_are_the_same_everywhere():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    known = [*project["dependencies"], *project["optional-dependencies"]["demo"]]
    assert f"numba>={versions.OLDEST}" in known
    text = (ROOT / "docs/api.md").read_text()
    assert re.findall(r"^\| ([\w-]+) \| ([\d.]+) \|", text, re.M) == [
        tuple(requirement.split(">=")) for requirement in known
    ]
    assert f"numba {versions.OLDEST} to {versions.NEWEST}" in text


def test_the_oldest_environment_holds_what_the_project_admits():
    script = ROOT / ".ci/oldest.py"
    command = [sys.executable, str(script), "test"]
    pinned = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert f"numba=={versions.OLDEST}" in pinned
    assert "pytest==8" in pinned
    assert not [pin for pin in pinned if "==" not in pin]
