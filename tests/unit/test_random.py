"""The random generator: its known answers, and the same bits wherever it runs."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import graphc as gx
from graphc.emit import random
from graphc.ir.interpret import evaluate
from graphc.kernel.code import HI, LO, Writer
from graphc.kernel.value import Name, Pointer, call
from graphc.ops.random import RandomUniform, random_bernoulli, random_uniform, threefry
from tests.kernels import Compiled, written

# Known answers of the authors' library Random123, file kat_vectors, "threefry2x32 20".
KNOWN = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]
PLACES = [(0, 0, 0), (-5, 7, 9), (2**62 + 11, 2**31, 2**40 + 1), (-(2**63), 1, -1)]


@pytest.mark.parametrize(("key", "counter", "answer"), KNOWN)
def test_known_answers(key, counter, answer):
    def words(pair):
        return tuple(np.array([v], np.uint32) for v in pair)

    assert tuple(int(w[0]) for w in threefry(words(key), words(counter))) == answer
    plain = random.threefry(*(random.Word(v) for v in (*key, *counter)))
    assert tuple(w.value for w in plain) == answer


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kernels_and_numpy_give_the_same_bits(dtype):
    uniform = random.uniform32 if dtype == "float32" else random.uniform64
    writer, out = Writer(), Pointer("out", np.dtype(dtype))
    words = [Name(name) for name in ("seed", "stream", "step")]
    with writer.loop("i", HI, LO) as i:
        drawn = f"random.{uniform.__name__}"
        writer.store(out[i], call(drawn, *words, i, dtype=out.dtype))
    fill = Compiled(written("fill", writer, out, *words))

    for seed, stream, step in PLACES:
        out = np.empty(1000, dtype)
        fill(0, 1000, out, seed, stream, step)
        op = RandomUniform((1000,), stream, np.dtype(dtype))
        reference = op.numpy(np.asarray(seed), np.asarray(step))
        np.testing.assert_array_equal(out, reference)
        assert [uniform(seed, stream, step, i) for i in range(5)] == reference[:5].tolist()
        assert out.min() >= 0
        assert out.max() < 1


def test_large_element_numbers_count():
    assert random.uniform64(1, 2, 3, 2**32) != random.uniform64(1, 2, 3, 0)


def test_numbers_are_uniform_and_independent():
    draws = []
    for seed, stream, step in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)):
        op = RandomUniform((100_000,), stream, np.dtype("float64"))
        draws.append(op.numpy(np.asarray(seed), np.asarray(step)))
    for x in draws:
        counts = np.histogram(x, 64, (0, 1))[0]
        chi2 = float(np.sum((counts - 100_000 / 64) ** 2) / (100_000 / 64))
        assert 20 < chi2 < 130  # 63 degrees of freedom
    correlation = np.corrcoef(draws) - np.eye(4)
    assert np.abs(correlation).max() < 0.015


def test_bernoulli_and_symbolic_step():
    step = gx.input("step", (), dtype="int64")
    mask = random_bernoulli(0.25, (None, 50), seed=3, step=step)
    values = [evaluate([mask], {step: np.array(k)}, batch=40)[mask] for k in (0, 1)]
    assert all(abs(v.mean() - 0.25) < 0.03 for v in values)
    assert (values[0] != values[1]).any()


def test_errors():
    with pytest.raises(TypeError, match="seed must be an integer"):
        random_uniform((3,), seed=1.5)
    with pytest.raises(TypeError, match="seed must be an integer, got None"):
        random_uniform((3,), seed=None)
    for stream, kind in (
        (1.5, TypeError),
        (True, TypeError),
        (-1, ValueError),
        (2**32, ValueError),
    ):
        with pytest.raises(kind, match="stream must be"):
            random_uniform((3,), seed=1, stream=stream)
    for p in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match="p must be from 0 to 1"):
            random_bernoulli(p, (3,), seed=1)
    with pytest.raises(ValueError, match="step must be a scalar"):
        random_uniform((3,), seed=1, step=np.arange(3))
    with pytest.raises(TypeError, match="floating-point"):
        random_uniform((3,), seed=1, dtype="int32")


def test_symbols_do_not_need_numba():
    code = "import sys, graphc.ops.random; sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
