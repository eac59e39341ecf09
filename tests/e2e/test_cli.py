"""The command line: what it prints, writes and answers to wrong calls."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import graphc as gx
from graphc import demo
from graphc.__main__ import main

SCRIPT = """
import graphc as gx
from graphc import nn, optim

print("chatter")
x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
out = nn.Linear(3, 1)(x)
loss = nn.mse_loss(out, y)
model = gx.Model(inputs=x, outputs=out, targets=y, loss=loss, optimizer=optim.SGD(0.1))
function = gx.function([x, y], loss)
graph = model.graph
number = 3


class Box:
    inner = model


if __name__ == "__main__":
    raise RuntimeError("only for python script.py")
"""


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Run in a folder of its own that holds ``net.py``, leaving no trace in the process."""
    (tmp_path / "net.py").write_text(SCRIPT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setenv("PYTHONPATH", str(Path(gx.__file__).parents[1]))  # of programs we start
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        if name.startswith(("net", "broken", "_graphc_script_")):
            del sys.modules[name]


@pytest.mark.parametrize("spec", ["net:model", "net.py:model", "net:Box.inner"])
def test_source_is_a_module(capsys, spec):
    assert main(["source", spec]) == 0
    out, err = capsys.readouterr()
    tree = ast.parse(out)
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    assert {"forward", "backward", "train_step", "train_epoch"} <= names
    assert err == "chatter\n"  # what the module prints stays out of the output


def test_source_in_c(capsys):
    assert main(["source", "net:model", "--language", "c"]) == 0
    assert "#include <stdint.h>" in capsys.readouterr().out


def test_report(capsys):
    assert main(["report", "net:function"]) == 0
    assert "arena" in capsys.readouterr().out


def test_report_of_the_schedule(capsys):
    assert main(["report", "net:model", "--schedule"]) == 0
    out = capsys.readouterr().out
    assert "predicted on one thread" in out
    assert "matmul" in out
    assert "arena" not in out


@pytest.mark.parametrize("attribute", ["model", "function", "graph", "loss"])
def test_visualize(capsys, folder, attribute):
    assert main(["visualize", f"net.py:{attribute}", "out.svg"]) == 0
    assert "wrote out.svg (" in capsys.readouterr().out
    assert "<svg" in (folder / "out.svg").read_text()


def test_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"graphc {gx.__version__}\n"


def test_nothing_asked_prints_the_help(capsys):
    assert main([]) == 2
    assert "visualize" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["source", "net"], "'net' is not of the form module:attribute or file.py:attribute"),
        (["source", ":model"], "':model' is not of the form"),
        (["source", "net:"], "'net:' is not of the form"),
        (["source", "nonet:model"], "no module named 'nonet'"),
        (["source", "net.sub:model"], "no module named 'net.sub'"),
        (["source", ".net:model"], "'.net' is not the name of a module"),
        (["source", "nonet.py:model"], "there is no file nonet.py"),
        (["source", "net:modle"], "no attribute 'modle'; it has model, function, graph"),
        (["source", "net:number"], "net:number is a int; expected a Model or a Function"),
        (["report", "net:graph"], "net:graph is a Graph; expected a Model or a Function"),
        (["visualize", "net:number", "a.svg"], "expected a Tensor, Graph, Function or Model"),
        (["visualize", "net:model", "a.gif"], "a.gif must end in one of .dot, .svg"),
        (["visualize", "net:model", "no/a.svg"], "there is no folder no"),
    ],
)
def test_wrong_calls(capsys, folder, arguments, message):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert "Traceback" not in err
    assert [p.name for p in folder.iterdir() if p.suffix != ""] == ["net.py"]


@pytest.mark.parametrize(
    "arguments", [["paint"], ["visualize", "net:model"], ["demo", "--epochs", "0"]]
)
def test_wrong_arguments(capsys, arguments):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["broken:model", "broken.py:model"])
@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ("def f():\n    return 1 / 0\nf()\n", "ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import not_installed\n", "No module named 'not_installed'"),
        ("x = (\n", "SyntaxError"),
    ],
)
def test_a_script_that_raises(capsys, folder, spec, body, shown):
    (folder / "broken.py").write_text(body)
    assert main(["source", spec]) == 1
    err = capsys.readouterr().err
    assert shown in err
    assert "broken.py" in err
    assert "__main__.py" not in err  # only the user's frames


def test_a_wrong_shape_in_a_script_needs_no_traceback(capsys, folder):
    body = "import graphc as gx\ny = gx.input('x', (3,)) + gx.input('z', (4,))\n"
    (folder / "broken.py").write_text(body)
    assert main(["source", "broken.py:y"]) == 1
    err = capsys.readouterr().err
    assert "shapes (3,) (4,)" in err
    assert "broken.py:2" in err
    assert "Traceback" not in err


def test_as_a_program(folder):
    command = [sys.executable, "-m", "graphc", "visualize", "net.py:model", "out.dot"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("wrote out.dot")
    wrong = subprocess.run([*command[:-1], "out"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("graphc: out must end in one of")


def test_a_reader_that_leaves(folder):
    command = f"'{sys.executable}' -m graphc source net:model | true"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, check=True)
    assert done.stderr == "chatter\n"


def test_demo(capsys, folder):
    pytest.importorskip("sklearn")
    assert main(["demo", "--epochs", "3", "--output", "made/here"]) == 0
    out = capsys.readouterr().out
    assert "test accuracy 0." in out
    for name in ("digits.svg", "digits.html", "digits.py"):
        assert f"here/{name}" in out.replace("\\", "/")
        assert (folder / "made" / "here" / name).stat().st_size > 1000
    ast.parse((folder / "made" / "here" / "digits.py").read_text())


def test_demo_makes_no_noise(run_python, tmp_path):
    """Nothing but what the demo itself says: no notices of Graphviz or of the fonts it finds."""
    script = (
        "import sys; from graphc.__main__ import main; sys.exit(main(['demo', '--epochs', '1']))"
    )
    done = run_python("import os; os.dup2(1, 2)\n" + script)
    assert "arning" not in done, done
    assert "picture" in done


def test_demo_is_accurate(folder):
    pytest.importorskip("sklearn")
    assert demo.run(40, folder / "out") >= 0.96


def test_demo_without_its_data(capsys, monkeypatch):
    monkeypatch.setattr(demo, "load_digits", None)
    assert main(["demo"]) == 1
    assert 'pip install "graphc[demo]"' in capsys.readouterr().err
