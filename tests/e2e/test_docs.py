"""What the documentation shows is run, what it names exists, and generated pages are current."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def name(page):
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [p for p in PAGES if "\n```" in p.read_text()], ids=name)
def test_blocks_run(page, tmp_path):
    command = [sys.executable, ROOT / "tests/docs_runner.py", page]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(r'src="([^"]+)"', text)
    local = [link for link in links if "://" not in link]
    assert not [link for link in local if not (page.parent / link).exists()]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_exist(page):
    names = re.findall(r"`((?:graphc|tests|docs|examples)/[\w/.-]+\.\w+)`", page.read_text())
    assert not [n for n in names if not (ROOT / n).exists()]


def test_generated_pages_are_current():
    command = [sys.executable, ROOT / "docs/generate.py", "--check"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
