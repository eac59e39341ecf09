"""Pages of libraries that are given back: which, and that what is there can still be used."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from graphc.build.resident import release, unmodified

SMAPS = """\
7f0000000000-7f0000004000 r--p 00000000 fd:00 11 /lib/libone.so
Rss:                  16 kB
Anonymous:             0 kB
7f0000004000-7f0000008000 r-xp 00004000 fd:00 11 /lib/libone.so
Anonymous:             0 kB
7f0000008000-7f000000c000 r--p 00008000 fd:00 11 /lib/libone.so
Anonymous:             4 kB
7f000000c000-7f000000e000 rw-p 0000c000 fd:00 11 /lib/libone.so
Anonymous:             0 kB
7f000000e000-7f0000010000 rw-p 00000000 00:00 0
Anonymous:             0 kB
7f0000010000-7f0000014000 r-xp 00000000 fd:00 12 /libone.so/libtwo.so
Anonymous:             0 kB
7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0 [stack]
Anonymous:             0 kB
"""


def test_parts_with_pages_of_their_own_or_writable_are_kept():
    found = list(unmodified(SMAPS.splitlines(), "libone"))
    assert found == [(0x7F0000000000, 0x7F0000004000), (0x7F0000004000, 0x7F0000008000)]


SCRIPT = """
from pathlib import Path
from llvmlite import binding
from graphc.build.resident import release

def resident():
    total, inside = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = "libllvmlite" in line
        elif inside and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total

binding.get_default_triple()
before = resident()
release("libllvmlite")
print(before, resident())
module = binding.parse_assembly("define i64 @f(i64 %x) { ret i64 %x }")
module.verify()
print("@f" in str(module))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_llvm_works_on_after_its_pages_were_given_back(run_python):
    before, after, works = run_python(SCRIPT).split()
    assert int(after) < int(before) / 2
    assert works == "True"


def test_where_there_is_no_such_file_nothing_happens(monkeypatch):
    def missing(*_, **__):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "open", missing)
    release("libllvmlite")
