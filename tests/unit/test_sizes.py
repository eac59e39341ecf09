"""Sizes are Python's integers: what no memory holds is refused by name, before anything is done."""

from __future__ import annotations

import numpy as np
import pytest
from compiled import plain_python

import graphc as gx
from graphc import nn
from graphc.errors import AllocationError

HERE = __file__


def rows(n):
    """Return ``n`` ones that take four bytes."""
    return np.broadcast_to(np.float32(1), (n,))


def outer(x):
    return x[:, None] * x[None, :]


CASES = {
    "2^32 squared": (outer, 2**32, "multiply", 2**66),
    "in no memory": (lambda x: gx.sum(outer(x)), 2**32, "multiply", 2**66),
    "a view": (lambda x: gx.broadcast_to(x[0], (2**32, 2**32)), 3, "broadcast_to", 2**66),
    "a view that can be counted": (
        lambda x: gx.broadcast_to(x[0], (2**42,)),
        3,
        "broadcast_to",
        2**44,
    ),
    "fixed": (lambda x: gx.ones((2**32, 2**32)) * x[0], 2, "float32", 2**66),
    "countable": (lambda x: gx.cumulative_sum(outer(x), axis=1), 2**25, None, 2**52),
    "padded": (lambda x: gx.pad(x, (2**60, 2**62)), 3, "embed", 4 * (2**60 + 2**62 + 3)),
    "repeated": (lambda x: gx.tile(x, 2**40), 2**30, "broadcast_to", 2**72),
    "input": (lambda x: gx.sum(x), 2**42, "x", 2**44),
}


@pytest.mark.parametrize("plain", [True, False], ids=["plain", "compiled"])
@pytest.mark.parametrize("case", CASES)
def test_what_no_memory_holds_is_named(case, plain, monkeypatch):
    monkeypatch.setenv("GRAPHC_CHECK", "0")
    make, n, name, nbytes = CASES[case]
    x = gx.input("x", (None,))
    with plain_python(plain), gx.config(check=False):
        f = gx.function(x, make(x))
        with pytest.raises(MemoryError) as caught:
            f(rows(n))
    assert isinstance(caught.value, AllocationError)
    text = str(caught.value)
    assert str(nbytes) in text
    assert f"\n  at {HERE}:" in text
    assert name is None or name in text
    if case in ("2^32 squared", "in no memory", "countable", "input"):
        np.testing.assert_array_equal(f(rows(3)).sum(), {"countable": 18, "input": 3}.get(case, 9))


def test_parameters_that_no_memory_holds_are_named():
    x = gx.input("x", (None, 2))
    for shape in ((2**32, 2**32), (2**22, 2**22)):
        big = gx.parameter(nn.init.zeros, shape, name="big")
        with gx.config(check=False), pytest.raises(AllocationError, match="big") as caught:
            gx.function(x, big[0, 0] + x)
        assert str(4 * shape[0] * shape[1]) in str(caught.value)
        assert HERE in str(caught.value)


def test_a_value_known_now_that_no_memory_holds_is_named():
    with pytest.raises(AllocationError, match="arange") as caught:
        gx.arange(2**45)
    assert HERE in str(caught.value)


LIMITED = """
import resource, numpy as np, graphc as gx
from graphc import nn
x = gx.input("x", (None, 1024))
y = gx.tanh(x)
f = gx.function(x, [gx.cumulative_sum(y, axis=0) + y, x[0]])
wanted = f(np.ones((3, 1024), "float32"))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), resource.RLIM_INFINITY))
data = np.broadcast_to(np.float32(1), (1 << 17, 1024))
for make in (
    lambda: f(data),
    lambda: gx.function(x, x @ gx.parameter(nn.init.ones, (1024, 1 << 18), name="w")),
    lambda: gx.function(x, [gx.broadcast_to(x[0], (1 << 17, 1024))])(np.ones((2, 1024), "f")),
):
    try:
        make()
    except gx.errors.AllocationError as error:
        print(str(error).replace("\\n", " "))
for a, b in zip(wanted, f(np.ones((3, 1024), "float32"))):
    assert (a == b).all()
"""


def test_memory_that_cannot_be_had_is_named(run_python):
    first, second, third = run_python(LIMITED, GRAPHC_CHECK="0", GRAPHC_THREADS="1").splitlines()
    assert "inputs and intermediate values for 131072 rows" in first
    assert f"with {1 << 29} bytes" in first
    assert "parameters" in second
    assert "w: float32(1024, 262144)" in second
    assert "outputs" in third
    assert f"broadcast_to: float32(131072, 1024) with {1 << 29} bytes" in third
