"""Print the oldest versions that pyproject.toml admits, one requirement a line.

    pip install $(python .ci/oldest.py test)

They are of the package's own dependencies and of those of the extras that are named.
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]


def oldest(requirement: str) -> str:
    """Return ``name==version`` for ``name>=version``."""
    found = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
    if found is None:
        sys.exit(f"pyproject.toml: {requirement!r} does not say which version is the oldest")
    return f"{found[1]}=={found[2]}"


extras = [PROJECT["optional-dependencies"][name] for name in sys.argv[1:]]
admitted = {r for listed in (PROJECT["dependencies"], *extras) for r in listed}
print(*sorted(map(oldest, admitted)), sep="\n")
