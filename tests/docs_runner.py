"""Runs the code blocks of one page, in order, in one namespace: ``python docs_runner.py PAGE``.

* ``python``: executed; if its first line is ``# name.py``, also kept as that file.
* ``text`` right after it: what it prints, unless ``<!-- varies -->`` stands before.
* ``sh``: lines that start with ``graphc`` run, ``SPEC`` and the demo aside; of other commands the
  files they name must exist. Options of graphc before a command must be some.

Excerpts of generated code (``<!-- source: ... -->``) are those of ``docs/generate.py``.
"""

from __future__ import annotations

import contextlib
import io
import re
import shlex
import sys
from pathlib import Path

from graphc.__main__ import main as command_line
from graphc.config import checked

ROOT = Path(__file__).parents[1]
BLOCK = re.compile(r"(?:<!-- (?P<note>[^>]*) -->\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$",
                   re.DOTALL | re.MULTILINE)  # fmt: skip
KNOWN = ("pip", "pytest", "python")


def shell(line: str) -> None:
    words = [w for w in shlex.split(line, comments=True) if w != "&&"]
    while variable := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
        words.pop(0)
        if variable[1].startswith("GRAPHC_"):
            checked(variable[1].removeprefix("GRAPHC_").lower(), variable[2])
        else:
            assert variable[1].startswith("NUMBA_"), f"what is {variable[1]}?"
    if words[0] == "graphc":
        if "SPEC" not in words and words[1] != "demo":
            with contextlib.redirect_stdout(io.StringIO()):
                assert command_line(words[1:]) == 0, line
        return
    assert words[0] in KNOWN, f"what is {words[0]}?"
    for word in words:
        if re.fullmatch(r"[\w/]+(\.py|\.sh)|tests/\w+", word):
            assert (ROOT / word).exists() or Path(word).exists(), f"{line}: there is no {word}"
        if word.startswith("tests."):
            module = ROOT / word.replace(".", "/")
            names = (module.with_suffix(".py"), module / "__main__.py")
            assert any(name.exists() for name in names), f"there is no {word}"


def run(page: Path) -> int:
    """Run the blocks of ``page`` in the current folder; return how many there were."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    printed, count = None, 0
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        kind, text, note = block["kind"], block["text"], block["note"] or ""
        where = f"{page.name}:{page.read_text()[: block.start()].count(chr(10)) + 1}"
        count += 1
        if kind == "python" and not note.startswith("source:"):
            named = re.match(r"# (\w+\.py)\n", text)
            file = Path(named[1] if named else f"block{count}.py").resolve()
            file.write_text(text, encoding="utf-8")
            out = io.StringIO()
            with contextlib.redirect_stdout(out):
                exec(compile(text, str(file), "exec"), namespace)
            printed = out.getvalue()
        elif kind == "text" and note != "varies":
            assert printed == text, f"{where}: it prints\n{printed}"
        elif kind == "sh":
            for line in text.splitlines():
                shell(line)
        else:
            assert kind in ("python", "text"), f"{where}: no one checks a block of {kind}"
    return count


if __name__ == "__main__":
    print(run(Path(sys.argv[1])), "blocks")
