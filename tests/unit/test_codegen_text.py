"""Generated text: a pure function of the program, in which no user string is code."""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

import numpy as np
import pytest
from compiled import build
from golden.models import batched_products, indexing, mlp, mlp_source, recurrence, softmax_function

import graphc as gx
from graphc import nn, optim
from graphc.codegen.merge import PADDING, merge_flat_calls
from graphc.codegen.module import comment, show_expression
from graphc.ir.graph import Graph
from graphc.ir.tensor import name_scope
from graphc.print.python import literal
from graphc.types import BATCH, dim_ceildiv, dim_max, dim_min

# -- golden files ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("mlp_sgd.py", mlp_source),
        ("mlp_adam.py", lambda: mlp(optimizer=optim.Adam(1e-3)).source),
        ("softmax.py", softmax_function),
        ("indexing.py", indexing),
        ("batched_products.py", batched_products),
        ("recurrence.py", recurrence),
    ],
)
def test_golden(golden, name, source):
    text = source()
    golden(name, text)
    compile(text, name, "exec")


# -- purity ----------------------------------------------------------------------------------------


def test_the_text_owes_nothing_to_what_was_built_before():
    first = mlp_source()
    for _ in range(3):
        nn.Linear(2, 2)
        gx.exp(gx.input("other", (3,)))
    assert mlp_source() == first
    assert "#" not in "".join(
        line.split("#", 1)[1] for line in first.splitlines() if "#" in line
    ), "a layer's serial number"


SCRIPT = "from unit_source import source; print(source())"


def test_the_text_is_the_same_in_every_process(run_python, tmp_path):
    texts = set()
    for seed in ("0", "1", "77"):
        folder = tmp_path / f"folder_{seed}"
        folder.mkdir()
        (folder / "unit_source.py").write_text(
            "import graphc as gx\n"
            "from graphc import nn, optim\n"
            f"for _ in range({seed}): nn.Linear(2, 2)\n"
            "def source():\n"
            "    x, y = gx.input('x', (None, 8)), gx.input('y', (None,), 'int64')\n"
            "    out = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5),\n"
            "                        nn.Linear(16, 4))(x)\n"
            "    return gx.Model(inputs=x, outputs=out, targets=y,\n"
            "                    loss=nn.cross_entropy(out, y), optimizer=optim.SGD(1e-3)).source\n"
        )
        script = f"import sys; sys.path.insert(0, {str(folder)!r})\n" + SCRIPT
        texts.add(run_python(script, PYTHONHASHSEED=seed, NUMBA_DISABLE_JIT="1"))
    assert len(texts) == 1
    (text,) = texts
    assert str(tmp_path) not in text


def test_comments_carry_the_users_line():
    x = gx.input("x", (None, 3))
    y = gx.tanh(x)  # here
    source = gx.function(x, y).source
    lines = Path(__file__).read_text().splitlines()
    line = next(n for n, text in enumerate(lines, 1) if text.endswith("# here"))
    assert f"test_codegen_text.py:{line}" in source


HOSTILE = [
    '"""\nimport os',
    "a\nraise SystemExit",
    "'''",
    "\\",
    "end\\\n",
    "__import__('os').abort()",
    "{x}{0}%s{{",
    "ünïcödé→\u2028\u2029\x00\x07\x85",
    "\ud800",
    "# -*- coding: latin-1 -*-",
    "x" * 500,
    "\r\n    boom()",
    "\N{RIGHT-TO-LEFT OVERRIDE}def",
]


def code_of(text):
    """Return the tokens that are neither comments nor docstrings."""
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    kept = [t.string for t in tokens if t.type not in (tokenize.COMMENT, tokenize.NL)]
    docs = {ast.get_docstring(n, clean=False) for n in ast.walk(ast.parse(text))
            if isinstance(n, (ast.Module, ast.FunctionDef))}  # fmt: skip
    return [t for t in kept if not (t[:1] == '"' and ast.literal_eval(t) in docs)]


def named(name):
    x = gx.input(name, (None, 3))
    w = gx.parameter(np.ones((3, 2), "float32"), name=name)
    with name_scope(name):
        y = gx.tanh(x @ w)
    return build(Graph([x], {name: gx.sum(y)}, {w: w * 0.5}), plain=True)


def test_user_strings_are_never_code():
    expected = code_of(named("plain").source)
    for name in HOSTILE:
        run = named(name)
        assert code_of(run.source) == expected, name
        assert all(line.isprintable() for line in run.source.splitlines()), name
        run.call([np.ones((2, 3), "float32")])


@pytest.mark.parametrize("text", HOSTILE)
def test_a_comment_is_one_printable_line(text):
    clean = comment(text)
    assert clean.isprintable()
    assert len(clean) <= 80
    assert not set(clean) & set('"\\')


# -- parts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_float_literals_keep_their_bits(dtype):
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    names = {n: getattr(np, n) for n in ("float32", "float64", "inf", "nan")}
    bits = rng.integers(0, 2 ** (8 * kind.itemsize - 1), 200, dtype=f"uint{8 * kind.itemsize}")
    edges = [0.0, -0.0, np.inf, -np.inf, np.nan, np.finfo(kind).max, np.finfo(kind).tiny / 2, 0.1]
    for number in [*bits.view(kind), *np.array(edges, kind)]:
        again = eval(literal(number, kind), names)
        assert again.dtype == kind
        np.testing.assert_array_equal(again, number)


def test_literals_of_whole_numbers():
    names = {n: getattr(np, n) for n in ("int32", "int64")}
    for dtype in ("int32", "int64"):
        limits = np.iinfo(dtype)
        for number in (limits.min, -1, 0, limits.max):
            assert eval(literal(number, np.dtype(dtype)), names) == number
    assert literal(np.True_, np.dtype(bool)) == "True"


def test_extreme_whole_numbers_compile():
    i, j = gx.input("i", (3,), "int64"), gx.input("j", (3,), "int32")
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    f = gx.function([i, j], (
        gx.maximum(i, gx.constant(np.int64(low))), gx.minimum(i, gx.constant(np.int64(high))),
        gx.maximum(j, gx.constant(np.int32(-(2**31)))),
    ))  # fmt: skip
    fed = np.array([1, low, high])
    for found in f(fed, fed.astype("int32"))[:2]:
        np.testing.assert_array_equal(found, fed)


def test_dimensions_as_python():
    dims = [
        BATCH, BATCH * 3 - 1, dim_max(BATCH - 3, 0) * 2 + 5, dim_min(BATCH, 7), 4,
        dim_ceildiv(BATCH, 2) * 3, BATCH * dim_max(BATCH - 3, 0) * 2 + 1, -BATCH + 2,
        dim_max(BATCH - 3, 0) + dim_ceildiv(BATCH + 1, 4) * 3,
    ]  # fmt: skip
    for dim in dims:
        for batch in range(9):
            wanted = dim if isinstance(dim, int) else dim.at(batch)
            assert eval(show_expression(dim), {"batch": batch, "max": max, "min": min}) == wanted


def test_equal_work_has_one_kernel():
    x = gx.input("x", (None, 4))
    y = x
    for _ in range(2):
        y = gx.exp(gx.cumulative_sum(y, axis=1))
    y = gx.cumulative_sum(y, axis=1)
    source = build(Graph([x], {"y": y}), plain=True).source
    assert source.count("def exp_") == 1
    assert source.count("run(exp_") == 2
    assert source.count("def cumulative_sum_") == 1


def test_updates_of_all_parameters_are_one_call():
    model = mlp(optimizer=optim.Adam(1e-3))
    update = model.source.split("def update(m):")[1].split("def ")[0]
    assert update.count("run(") <= 3, update
    sizes = [-(-p.size // PADDING) * PADDING for p in model.parameters.values()]
    assert f", {sum(sizes)}, " in update


def test_nothing_merges_that_has_a_place_already():
    x = gx.input("x", (3,), "float64")
    ps = [gx.parameter(np.ones(3)) for _ in range(2)]
    for p in ps:
        _ = p.op.cell.array
    run = build(Graph([x], {}, {p: p * 2.0 for p in ps}), plain=True)
    assert merge_flat_calls([], set()) == ([], [])
    assert not run._flat
    run.call([np.ones(3)])
    assert all((p.op.cell.array == 2).all() for p in ps)


@pytest.mark.parametrize(("wide", "extent"), [(512, "batch"), (1024, "1024")])
def test_threads_divide_the_columns_of_weights_that_overflow_the_cache(wide, extent):
    x = gx.input("x", (None, 512))
    w = gx.parameter(np.ones((512, wide), "float32"))
    source = build(Graph([x], {"y": x @ w}), plain=True).source
    assert f"run(matmul_float32, {extent}," in source.replace("\n        ", " ").replace("( ", "(")
