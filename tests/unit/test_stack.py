"""Kernels need little stack: a thread may have no more, and to overflow it ends the process."""

from __future__ import annotations

import pytest

import graphc as gx
from graphc.codegen.kernel import STACK_BYTES
from graphc.codegen.loops import STREAM_BLOCK

SMALL = """
import sys, threading
import numpy as np
import graphc as gx
from graphc import nn, optim

calls = []

def small(f, *arrays, wanted=None):
    f(*arrays)  # compiled here: LLVM needs more
    calls.append((f, arrays, wanted))
"""

RUN = """
def work():
    for f, arrays, wanted in calls:
        found = f(*arrays)
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-3)
    print("done", len(calls))

for threads in (1, 2):
    gx.config(threads=threads)
    threading.stack_size(128 << 10)
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
"""

PRODUCTS = """
rng = np.random.default_rng(0)
for dtype in ("float32", "float64"):
    for m, n, k in ((700, 700, 700), (64, 2000, 700), (600, 10, 600), (600, 1, 600)):
        a, b = rng.standard_normal((m, k)).astype(dtype), rng.standard_normal((k, n)).astype(dtype)
        x, y = gx.input("x", a.shape, dtype), gx.input("y", b.shape, dtype)
        small(gx.function([x, y], x @ y), a, b, wanted=a @ b)
        x, y = gx.input("x", a.T.shape, dtype), gx.input("y", b.T.shape, dtype)
        small(gx.function([x, y], x.T @ y.T), np.array(a.T), np.array(b.T), wanted=a @ b)
x = gx.input("x", (None, 512))
out = nn.Sequential(nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10))(x)
y = gx.input("y", (None,), "int64")
model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                 optimizer=optim.Adam(1e-3), seed=0)
small(lambda *a: model.train_step(*a), np.ones((300, 512), "float32"), np.zeros(300, "int64"))
"""

LOOPS = """
x = gx.input("x", (None, 20))
rows = np.linspace(-1, 1, 2000, dtype="float32").reshape(100, 20)
many = [x * float(i) for i in range(1, 60)]
shares = [gx.softmax(t) for t in many]
short = shares[0]
for share in shares[1:]:
    short = short * share + gx.logsumexp(share, axis=1, keepdims=True)
small(gx.function(x, short), rows)
small(gx.function(x, (gx.softmax(x), gx.log_softmax(x * 2.0))), rows)
large = gx.input("large", (9 << 20,))
small(gx.function(large, gx.exp(large)), np.zeros(9 << 20, "float32"))
"""


def test_blocks_on_the_stack_are_few():
    """A result that goes past the caches has a block of 8 KB; what would be too many has none."""
    x = gx.input("x", (9 << 20,))
    f = gx.function(x, [gx.exp(x) * float(i) for i in range(1, 12)])
    assert 0 < f.source.count("stream.block(") * 8 * STREAM_BLOCK <= STACK_BYTES
    rows = gx.input("rows", (None, 20))
    share = gx.softmax(rows)
    assert "rows.block(" in gx.function(rows, share).source
    others = [gx.input(f"x{i}", (None, 20)) for i in range(30)]
    total = sum(others, start=rows)
    assert "rows.block(" not in gx.function([rows, *others], gx.softmax(total)).source


@pytest.mark.parametrize("what", ["PRODUCTS", pytest.param("LOOPS", marks=pytest.mark.slow)])
def test_threads_with_a_small_stack(run_python, what):
    assert run_python(SMALL + globals()[what] + RUN).count("done") == 2


ALLOCATED = """
import re
from graphc.build import native

SIZES = {"float": 4, "double": 8, "i8": 1, "i32": 4, "i64": 8}
optimised = native.optimised
blocks = {}

def size(text):
    kind, _, rest = text.partition(", ")
    count = rest.split(",")[0].split()[1] if rest.startswith("i") else "1"
    if count.startswith("%"):
        return 0  # a block of rows
    factor = int(count)
    if array := re.fullmatch(r"\\[(\\d+) x (.+)\\]", kind):
        factor, kind = factor * int(array[1]), array[2]
    return factor * SIZES.get(kind, 64)  # others are pointers and records of few words

def recorded(text, by_hand=False):
    module = optimised(text, by_hand)
    found = re.findall(r" = alloca (.+)", str(module))
    blocks[len(blocks)] = sum(map(size, found))
    return module

native.optimised = recorded
"""

LARGEST = "print('largest', len(blocks), max(blocks.values()))"


@pytest.mark.slow
@pytest.mark.parametrize("what", ["PRODUCTS", "LOOPS"])
def test_blocks_of_compiled_kernels_are_small(run_python, what):
    """What LLVM leaves on the stack; rows of a length given in the call keep to STACK_BYTES."""
    out = run_python(ALLOCATED + SMALL + globals()[what] + LARGEST)
    kernels, largest = map(int, out.split("largest")[1].split())
    assert kernels > 3
    assert largest + STACK_BYTES <= 64 << 10
