"""Write what is made from the code: ``docs/ops.md`` and ``docs/images``.

python docs/generate.py            # write
python docs/generate.py --check    # exit 1 if docs/ops.md is not current
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from pathlib import Path

import pygraphviz

import graphc as gx
from graphc import nn, optim
from graphc.ir import op as traits
from graphc.ir.op import ENTRIES, OPS, Op

DOCS = Path(__file__).parent
LISTED = (gx.ops, gx.linalg)
"""Modules whose functions the page lists; each enters its own when it is first used."""

TRAITS = (
    traits.Source, traits.Elementwise, traits.Reduction, traits.View, traits.Assembly,
    traits.Contraction, traits.Loops, traits.Composite,
)  # fmt: skip

HEAD = """# Functions and ops

Made by `python docs/generate.py` from the registry; a test keeps it current. Functions follow NumPy
and the Python array API where they have the name. Each is tested, by tests made from the same
registry, for its type, its value against NumPy (also of NaN, infinities and strided operands), its
first and second derivatives in both modes against finite differences, and as compiled code.

## Derivatives that are safe, and those that are not

`where` gives the operand that is not taken the derivative 0. What computed that operand is
differentiated all the same, and 0 times an infinite derivative is NaN: in
`where(x < 1, x, sqrt(x))` the root is not taken at 0, and the gradient there is NaN, as in JAX and
PyTorch. Make the operand safe with a second `where`, inside:

```python
import graphc as gx

x = gx.input("x", (3,))
unsafe = gx.where(x < 1, x, gx.sqrt(x))
safe = gx.where(x < 1, x, gx.sqrt(gx.where(x < 1, 1.0, x)))
both = gx.function(x, [gx.grad(gx.sum(y), x) for y in (unsafe, safe)])
print(*both([0.0, 0.25, 4.0]))
```

```text
[ nan 1.   0.25] [1.   1.   0.25]
```

Finite by themselves where their formulas would not be: `hypot` and `atan2` at the origin (0),
`std` of equal elements (0), `abs`, `sign`, `maximum` and `clip` at their kinks, `pow` at `0 **
0` and by the exponent at 0, `prod` with zeros, `logaddexp` of equal infinities, `logsumexp`,
`softmax` and `log_softmax` of anything finite, `xlogy` and `sinc` at 0, `eigh` and `svd` where
values are equal (what would divide by 0 is 0). Infinite, as mathematics has them: `sqrt`, `rsqrt`,
`log`, `lgamma` and powers below 1 at 0, `asin`, `acos`, `atanh` and `erfinv` at -1 and 1, `acosh`
at 1; a norm written as `sqrt(sum(x * x))` is NaN at 0, where that of `vector_norm` is 0.
"""


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring on one line, fit for a table's cell."""
    paragraph = " ".join(inspect.cleandoc(text or "").split("\n\n")[0].split())
    sentence = re.split(r"(?<=[^.]\.)\s+(?=[A-Z`])", paragraph)[0]
    plain = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", sentence).replace("``", "`")
    return plain.replace("|", "\\|")


def signature(function: object, name: str) -> str:
    """Return ``name(parameters)`` without annotations."""
    parameters = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    bare = inspect.Signature([p.replace(annotation=p.empty) for p in parameters])
    return f"{name}{bare}"


def trait_of(op: type[Op]) -> str:
    return next(t.__name__ for t in TRAITS if issubclass(op, t))


def ops_page() -> str:
    """Return the text of ``docs/ops.md``."""
    lines = [HEAD]
    sections = sorted({e.section for e in ENTRIES.values()})
    for section in sections:
        lines += [f"## {section}", "", "| `gx.` | |", "|---|---|"]
        for entry in sorted(ENTRIES.values(), key=lambda e: e.name):
            if entry.section == section:
                shown = signature(entry.function, entry.name).replace("|", "\\|")
                lines.append(f"| `{shown}` | {first_sentence(entry.function.__doc__)} |")
        lines.append("")
    lines += [
        "## Ops", "",
        "What the functions make nodes of; the trait says how an op is computed"
        " ([adding an op](adding-an-op.md)).", "",
        "| Op | Trait | |", "|---|---|---|",
    ]  # fmt: skip
    for name, op in sorted(OPS.items()):
        lines.append(f"| `{name}` | {trait_of(op)} | {first_sentence(op.__doc__)} |")
    return "\n".join(lines) + "\n"


def example_model() -> gx.Model:
    """Return the model of the README's picture."""
    x, y = gx.input("x", (None, 2)), gx.input("y", (None, 1))
    out = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.SGD(0.1))  # fmt: skip


STAGES = (
    ("expressions", "your code", "ir, ops, nn"),
    ("Graph", "immutable tensors,\na networkx DAG", "ir"),
    ("Graph + adjoints + updates", "one pure training step", "autodiff, optim"),
    ("optimised Graph", "fold, simplify, stabilise,\nCSE, chains, expand", "passes"),
    ("Program", "kernels over one arena,\nfused by traits", "plan"),
    ("module text", "kernels and the functions\nthat call them", "codegen"),
    ("captured tables", "one for each function\nand batch size", "run, schedule"),
    ("replay", "a team of threads,\nspin barriers", "run"),
)
"""The flow: what there is, what it is like, and the parts of the package that make it."""


def draw_flow(path: Path) -> None:
    """Draw the stages of the compiler."""
    graph = pygraphviz.AGraph(directed=True, rankdir="LR", nodesep=0.35, ranksep=0.35, margin=0.1)
    graph.node_attr.update(shape="box", style="rounded,filled", fillcolor="#eef3fb",
                           color="#4a6fa5", fontname="Helvetica", fontsize=11)  # fmt: skip
    graph.edge_attr.update(fontname="Helvetica", fontsize=9, color="#555555")
    for number, (title, text, package) in enumerate(STAGES):
        rows = text.replace("\n", "<br/>")
        label = (f"<<b>{title}</b><br/><font point-size='9'>{rows}</font>"
                 f"<br/><font point-size='9' color='#a05a2c'>{package}</font>>")  # fmt: skip
        graph.add_node(number, label=label)
    half, last = len(STAGES) // 2, len(STAGES) - 1
    graph.add_node("disk", label="object cache\non disk", shape="cylinder", fillcolor="#f6f1e7")
    for column in range(half):  # the second row runs back, from right to left
        below = ["disk"] if last - column == half + 1 else []
        graph.add_subgraph([column, last - column, *below], rank="same")
    for number in range(1, half):
        graph.add_edge(number - 1, number)
    graph.add_edge(half - 1, half)
    for number in range(half + 1, last + 1):
        graph.add_edge(number, number - 1, dir="back")
    for column in range(half - 1):
        graph.add_edge(column, last - column, style="invis")
    graph.add_edge(half + 1, "disk", label=" each distinct\n kernel, once", dir="both")
    graph.draw(path, prog="dot")


# -- the README ----------------------------------------------------------------------------------

EXCERPT = re.compile(r"(<!-- source: (.*?) -->\n```python\n).*?(```\n)", re.DOTALL)
TABLE = re.compile(r"(<!-- benchmarks: begin -->\n).*?(<!-- benchmarks: end -->\n)", re.DOTALL)


def excerpt(source: str, names: str) -> str:
    """Return the functions of a module whose names, less their digests, are ``names``."""
    parts = source.split("\n\n\n")
    heads = [re.search(r"^def (\w+?)(?:_[0-9a-f]{8})?\(", part, re.MULTILINE) for part in parts]
    found = {head[1]: part for head, part in zip(heads, parts, strict=True) if head}
    return "\n\n\n".join(found[name].rstrip() for name in names.split()) + "\n"


def readme(text: str) -> str:
    """Return the README with excerpts of its own model's module, and the benchmarks' table."""
    declaration = re.search(r"^x = gx.input.*?^$", text, re.DOTALL | re.MULTILINE)
    assert declaration, "the README declares no model"
    code = compile("\n" * 7 + declaration[0], "digits.py", "exec")  # the line it stands on there
    names = {"gx": gx, "nn": nn, "optim": optim}
    exec(code, names)
    source = names["model"].source
    text = EXCERPT.sub(lambda m: m[1] + excerpt(source, m[2]) + m[3], text)
    table = TABLE.search((DOCS / "benchmarks.md").read_text(encoding="utf-8"))
    assert table, "docs/benchmarks.md has no table"
    return TABLE.sub(lambda _: table[0], text)


def main(arguments: list[str]) -> int:
    pages = {DOCS / "ops.md": lambda _: ops_page(), DOCS.parent / "README.md": readme}
    stale = []
    for path, make in pages.items():
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        after = make(before)
        if after != before:
            stale.append(path)
            if arguments != ["--check"]:
                path.write_text(after, encoding="utf-8")
    if arguments == ["--check"]:
        for path in stale:
            print(f"{path.name} is not current: run python docs/generate.py")
        return bool(stale)
    draw_flow(DOCS / "images" / "flow.svg")
    picture = DOCS / "images" / "training_step.svg"
    gx.visualize(example_model(), picture)
    text = picture.read_text(encoding="utf-8")
    picture.write_text(text.replace(f"{DOCS.parent}{os.sep}", ""), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
