"""The command line: ``graphc visualize``, ``source``, ``report``, ``machine`` and ``demo``.

Exit codes: 0 done, 1 something failed while running, 2 the command was called wrongly.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

import graphc
from graphc.config import options as current
from graphc.errors import GraphcError
from graphc.functions import Function
from graphc.ir.graph import Graph
from graphc.machine import may_try, this, try_again
from graphc.machine.show import show
from graphc.run.report import Report
from graphc.train.model import Model
from graphc.viz import SUFFIXES, graph_of, visualize

FAILED, MISUSED, INTERRUPTED = 1, 2, 130


class UsageError(Exception):
    """The command line asks for something that is not there."""


class ScriptError(Exception):
    """The user's module raised; the message is its traceback."""


@runtime_checkable
class HasSource(Protocol):
    """What is compiled: a Function or a Model."""

    @property
    def source(self) -> str: ...

    @property
    def c_source(self) -> str: ...


@runtime_checkable
class HasReport(Protocol):
    """What is compiled: a Function or a Model."""

    @property
    def report(self) -> Report: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return MISUSED
    try:
        current()  # raises where the environment sets what no option can be
        code: int = options.run(options)
        sys.stdout.flush()
    except UsageError as error:
        return complain(error, MISUSED)
    except (GraphcError, ScriptError, OSError) as error:
        if isinstance(error, BrokenPipeError):  # the reader, say ``head``, has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return FAILED
        return complain(error, FAILED)
    except KeyboardInterrupt:
        return complain("interrupted", INTERRUPTED)
    return code


def complain(what: object, code: int) -> int:
    print(f"graphc: {what}", file=sys.stderr)
    return code


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="graphc", description=graphc.__doc__)
    parser.add_argument("--version", action="version", version=f"graphc {graphc.__version__}")
    parser.set_defaults(run=None)
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    spec = "a Model as module:attribute or file.py:attribute"

    command = commands.add_parser("visualize", help="draw the graph into a file")
    command.add_argument("spec", metavar="SPEC", help=f"{spec}; also a Function, Graph or Tensor")
    command.add_argument("path", metavar="OUT", help="out.svg, .html, .png, .pdf or .dot")
    command.set_defaults(run=run_visualize)

    command = commands.add_parser("source", help="print the generated module")
    command.add_argument("spec", metavar="SPEC", help=f"{spec}; also a Function")
    command.add_argument(
        "--language", choices=("python", "c"), default="python",
        help="the module as Python (default), or its generated kernels as C",
    )  # fmt: skip
    command.set_defaults(run=run_source)

    command = commands.add_parser("report", help="print kernels, bytes, operations and passes")
    command.add_argument("spec", metavar="SPEC", help=f"{spec}; also a Function")
    command.add_argument(
        "--schedule", action="store_true",
        help="print what runs in a step, in order: threads, meetings, loops, blocks",
    )  # fmt: skip
    command.set_defaults(run=run_report)

    command = commands.add_parser("machine", help="print what is known of this machine, and tried")
    command.add_argument("--again", action="store_true", help="try it again: it was busy before")
    command.set_defaults(run=run_machine)

    command = commands.add_parser("demo", help="train a network on real handwritten digits")
    command.add_argument("--epochs", type=at_least_one, default=40, metavar="N")
    command.add_argument(
        "--output", type=Path, default=Path("graphc-demo"), metavar="DIR",
        help="folder for the picture, the page and the generated module (default: graphc-demo)",
    )  # fmt: skip
    command.set_defaults(run=run_demo)
    return parser


def at_least_one(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"needs a whole number of at least 1, not {text!r}")
    return int(text)


# -- commands ----------------------------------------------------------------------------------


def run_visualize(options: argparse.Namespace) -> int:
    path = Path(options.path)
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{options.path} must end in one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}")
    thing = load(options.spec)
    try:
        graph = graph_of(thing)
    except TypeError as error:
        raise UsageError(f"{options.spec}: {error}") from None
    visualize(graph, path)
    print(f"wrote {path} ({len(graph):,} nodes)")
    return 0


def run_source(options: argparse.Namespace) -> int:
    thing = load(options.spec)
    if not isinstance(thing, HasSource):
        raise _not_compiled(options.spec, thing)
    print(thing.c_source if options.language == "c" else thing.source, end="")
    return 0


def run_report(options: argparse.Namespace) -> int:
    thing = load(options.spec)
    if not isinstance(thing, HasReport):
        raise _not_compiled(options.spec, thing)
    print(thing.report.schedule if options.schedule else thing.report)
    return 0


def run_machine(options: argparse.Namespace) -> int:
    if options.again and not may_try():
        raise UsageError("--again tries nothing with GRAPHC_CALIBRATE=0 or another GRAPHC_MACHINE")
    if options.again and not try_again():
        raise OSError(f"what was tried cannot be kept in {current().cache_path()}")
    print(show(this()))
    return 0


def run_demo(options: argparse.Namespace) -> int:
    from graphc import demo  # here, because scikit-learn takes a second to import

    demo.run(options.epochs, options.output)
    return 0


def _not_compiled(spec: str, thing: object) -> UsageError:
    return UsageError(f"{spec} is a {type(thing).__name__}; expected a Model or a Function")


# -- what SPEC names ---------------------------------------------------------------------------


def load(spec: str) -> Any:
    """Return the object that ``module:attribute`` or ``file.py:attribute`` names.

    What the module prints goes to the standard error, so that a command's output stays whole.
    """
    source, _, attribute = spec.rpartition(":")
    if not source or not attribute:
        raise UsageError(f"{spec!r} is not of the form module:attribute or file.py:attribute")
    with contextlib.redirect_stdout(sys.stderr):
        module = _run_file(Path(source)) if source.endswith(".py") else _import(source)
    thing: Any = module
    for name in attribute.split("."):
        try:
            thing = getattr(thing, name)
        except AttributeError:
            raise UsageError(f"{source} has no attribute {attribute!r}{_hint(module)}") from None
    return thing


def _hint(module: ModuleType) -> str:
    """Return a sentence that lists what in ``module`` can be named."""
    kinds = (Model, Function, Graph)
    names = [n for n, value in vars(module).items() if isinstance(value, kinds)]
    return f"; it has {', '.join(names)}" if names else ""


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    sys.path.insert(0, str(path.resolve().parent))  # as Python does for a script
    name = f"_graphc_script_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _script_error(str(path), error) from None
    return module


def _import(name: str) -> ModuleType:
    sys.path.insert(0, os.getcwd())
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(f"no module named {error.name!r}") from None
        raise _script_error(name, error) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, (ValueError, TypeError)) and name.startswith("."):
            raise UsageError(f"{name!r} is not the name of a module") from None
        raise _script_error(name, error) from None


def _script_error(name: str, error: BaseException) -> ScriptError:
    """Return an error that shows where the user's code raised, without our own frames."""
    if isinstance(error, GraphcError):  # it names the user's line itself
        return ScriptError(f"{name}: {error}")
    trace = error.__traceback__
    while trace is not None and _is_loader(trace.tb_frame.f_code.co_filename):
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace)).rstrip()
    return ScriptError(f"{name} raised {type(error).__name__}\n{text}")


def _is_loader(file: str) -> bool:
    return file in (__file__, importlib.__file__) or file.startswith("<frozen importlib")


if __name__ == "__main__":
    sys.exit(main())
