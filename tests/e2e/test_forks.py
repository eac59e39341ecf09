"""Processes that fork while other threads compile, train and predict: every child goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

BUSY = """
import faulthandler, gc, itertools, multiprocessing, os, sys, threading, time, warnings
warnings.simplefilter("ignore")  # newer Python warns of a fork beside threads
import numpy as np
import graphc as gx
from graphc import nn, optim

COUNT = int(sys.argv[1])
gx.config(threads=2)
x, y = gx.input("x", (None, 4)), gx.input("y", (None, 1))
out = nn.Linear(4, 1)(gx.tanh(x))
count = gx.parameter(np.zeros(()), name="count")
model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                 optimizer=optim.SGD(0.0), seed=0, updates={count: count + 1.0})
X = np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)
wanted = model.predict(X)
numbers = itertools.count(os.getpid() * 1000)
stop = threading.Event()

def compiling():
    while not stop.is_set():
        gx.function(x, gx.sum(gx.exp(x * next(numbers)), axis=-1))

def training():
    while not stop.is_set():
        model.train_step(X, X[:, :1])

def work(n):
    "What a child does: collect, compile, and use the model that another thread was training."
    assert gc.isenabled()
    assert sys.getswitchinterval() == 0.005
    assert np.allclose(gx.function(x, gx.tanh(x * (n + 3)) * (n + 2))(X),
                       np.tanh(X * (n + 3)) * (n + 2), rtol=1e-4)
    assert np.array_equal(model.predict(X), wanted)
    model.train_step(X, X[:, :1])
    return n

threads = [threading.Thread(target=t, daemon=True) for t in (compiling, compiling, training)]

def begin():
    for thread in threads:
        thread.start()

def end(children):
    stop.set()
    for thread in threads:
        thread.join()
    print(children, "children")
"""

FORK = (
    BUSY
    + """
begin()
for n in range(COUNT):
    time.sleep(n * 37 % 101 / 1000)
    child = os.fork()
    if not child:
        status = 1
        faulthandler.dump_traceback_later(50)
        try:
            status = work(n) != n
        finally:
            os._exit(status)
    for _ in range(12_000):  # a minute or more, not of time when all processes are stopped
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.005)
    else:
        os.kill(child, 9)
        sys.exit(f"child {n} hangs")
    assert status == 0, (n, status)
end(COUNT)
"""
)

MULTIPROCESSING = (
    BUSY
    + """
begin()
done = []
for size in range(0, COUNT, 4):  # each pool forks four workers
    with multiprocessing.get_context("fork").Pool(4) as pool:
        done += pool.map_async(work, range(size, size + 4), chunksize=1).get(60)
assert done == list(range(COUNT))
end(COUNT)
"""
)

JOBLIB = (
    BUSY
    + """
import joblib

def alone(n):
    "In a process of loky's, which has imported what it needs anew."
    import numpy as np
    import graphc as gx
    x, X = gx.input("x", (None, 4)), np.linspace(-1, 1, 32, dtype="float32").reshape(8, 4)
    assert np.allclose(gx.function(x, gx.tanh(x * n))(X), np.tanh(X * n), rtol=1e-4)
    return n

begin()
for backend, job in (("loky", alone), ("multiprocessing", work)):
    found = joblib.Parallel(n_jobs=4, backend=backend, timeout=600)(
        joblib.delayed(job)(n) for n in range(COUNT))
    assert found == list(range(COUNT))
end(COUNT)
"""
)

COUNTS = [12, pytest.param(200, marks=pytest.mark.slow)]


def forked(script, count, folder):
    environment = {**os.environ, "GRAPHC_CACHE_DIR": str(folder)}
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    with (folder / "output").open("w+") as output:  # no pipe: workers left behind would hold it
        done = subprocess.run(
            [sys.executable, "-c", script, str(count)],
            env=environment,
            timeout=600,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        output.seek(0)
        text = output.read()
    assert done.returncode == 0, text
    return text.splitlines()[-1]


@pytest.mark.parametrize("count", COUNTS)
def test_forked_while_others_compile(count, tmp_path):
    assert forked(FORK, count, tmp_path) == f"{count} children"


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, 200])
def test_pools_of_forked_workers_while_others_compile(count, tmp_path):
    assert forked(MULTIPROCESSING, count, tmp_path) == f"{count} children"


@pytest.mark.slow
@pytest.mark.parametrize("count", [12, 200])
def test_joblib_while_others_compile(count, tmp_path):
    pytest.importorskip("joblib")
    assert forked(JOBLIB, count, tmp_path) == f"{count} children"
