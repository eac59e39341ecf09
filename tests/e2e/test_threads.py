"""Threads, processes and interrupts: the same numbers, no hang, whole steps."""

from __future__ import annotations

import faulthandler
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.run.team import Team

RNG = np.random.default_rng(0)
X = RNG.standard_normal((512, 96)).astype("float32")
Y = RNG.integers(0, 10, 512)


@pytest.fixture(autouse=True)
def no_hang():
    """Kill the test process, with all stacks, rather than wait for ever."""
    faulthandler.dump_traceback_later(120, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


def build():
    x, y = gx.input("x", (None, 96)), gx.input("y", (None,), "int64")
    out = nn.Sequential(
        nn.Linear(96, 160), nn.Tanh(), nn.Dropout(0.25), nn.Linear(160, 10)
    )(x)  # fmt: skip
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.cross_entropy(out, y),
                    optimizer=optim.Adam(1e-3), seed=0)  # fmt: skip


def trained(threads):
    model = build()
    with gx.config(threads=threads):
        losses = [model.train_step(X[:256], Y[:256]) for _ in range(3)]
        model.fit(X, Y, epochs=2, batch_size=128, verbose=0)
    return losses, {name: value.copy() for name, value in model.parameters.items()}


def test_results_do_not_depend_on_the_number_of_threads(shared):
    losses, values = trained(1)
    for threads in (2, 3, 4):  # more than there are processors, too
        again, others = trained(threads)
        assert again == losses
        for name, value in values.items():
            np.testing.assert_array_equal(others[name], value, err_msg=name)


def test_loops_give_the_same_bits_on_any_number_of_threads(shared):
    x = gx.input("x", (None, 96))
    f = gx.function(
        x, (gx.softmax(gx.tanh(x) * 3), gx.sum(gx.exp(x), axis=0), gx.cumulative_sum(x, axis=1))
    )
    found = []
    for threads in (1, 2, 3, 4):
        with gx.config(threads=threads):
            found.append(f(np.tile(X, (8, 1))))
    for other in found[1:]:
        for a, b in zip(found[0], other, strict=True):
            np.testing.assert_array_equal(a, b)


def together(*works):
    """Run functions on threads of their own; re-raise what they raise."""
    problems = []

    def guarded(work):
        try:
            work()
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(w,), daemon=True) for w in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    if problems:
        raise problems[0]


def test_python_threads_share_a_function(shared):
    x = gx.input("x", (None, 96))
    w = gx.parameter(RNG.standard_normal((96, 64)).astype("float32"))
    f = gx.function(x, gx.tanh(x @ w))
    wanted = {n: f(X[:n]) for n in (512, 300, 7, 0)}

    def work():
        for _ in range(30):
            for n, value in wanted.items():
                np.testing.assert_array_equal(f(X[:n]), value)

    with gx.config(threads=2):
        together(*[work] * 4)


def test_python_threads_with_functions_of_their_own(shared):
    def work():
        x = gx.input("x", (None, 96))
        f = gx.function(x, gx.softmax(gx.exp(x)))
        e = np.exp(np.exp(X.astype("float64")))
        for _ in range(20):
            np.testing.assert_allclose(f(X), e / e.sum(1, keepdims=True), rtol=2e-4, atol=1e-30)

    with gx.config(threads=2):
        together(*[work] * 4)


def test_updates_from_several_threads_all_count():
    count = gx.parameter(np.zeros(()))
    f = gx.function([], (), {count: count + 1.0})
    together(*[lambda: [f() for _ in range(200)]] * 4)
    assert count.op.cell.array == 800


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

FORK = """
import os, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
from e2e.test_threads import X, Y, build
import graphc as gx
gx.config(threads=2)
model = build()
model.fit(X, Y, epochs=1, batch_size=128, verbose=0)
wanted = model.predict(X)
child = os.fork()
if child == 0:
    same = np.array_equal(model.predict(X), wanted)
    model.fit(X, Y, epochs=1, batch_size=128, verbose=0)
    x = gx.input("x", (None, 96))
    new = gx.function(x, gx.sin(x) * 7)(X)  # compiled in the child
    os._exit(0 if same and np.allclose(new, np.sin(X) * 7, atol=1e-5) else 1)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert np.array_equal(model.predict(X), wanted)
print("done")
"""


@needs_fork
def test_a_forked_child_computes(run_python):
    assert run_python(FORK).endswith("done\n")


POOL = """
import multiprocessing, sys, warnings
warnings.simplefilter("ignore", DeprecationWarning)
import numpy as np
from e2e.test_threads import X, Y, build
model = build()
wanted = model.predict(X)

def work(n):
    return np.array_equal(model.predict(X), wanted)

if __name__ == "__main__":
    with multiprocessing.get_context("fork").Pool(2) as pool:
        assert pool.map(work, range(6)) == [True] * 6
    print("done")
"""


@needs_fork
def test_a_pool_of_forked_workers(run_python):
    assert run_python(POOL).endswith("done\n")


def test_four_threads_on_one_processor_finish(run_python):
    script = (
        "import os\n"
        "if hasattr(os, 'sched_setaffinity'):\n"
        "    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
        "from e2e.test_threads import trained\n"
        "print(trained(4)[0][0])\n"
    )
    assert float(run_python(script)) > 0


# -- interrupts ------------------------------------------------------------------------------------

COUNTING = """
import sys, time, warnings
import numpy as np
import graphc as gx
from graphc import nn, optim
gx.config(threads=2)
x, y = gx.input("x", (None, 256)), gx.input("y", (None,))
w = gx.parameter(np.zeros((256, 256), "float32"), name="w")
steps = gx.parameter(np.zeros((), "float32"), name="steps")
wide = gx.tanh(gx.tanh(x @ w) @ w)
# Every element of w and the count grow by 1 in each step.
loss = 0 * gx.sum(wide) - gx.sum(w) - gx.sum(steps)
model = gx.Model(inputs=x, outputs=gx.sum(wide, axis=1), targets=y, loss=loss + 0 * gx.sum(y),
                 optimizer=optim.SGD(1.0), seed=0)
X = np.zeros((2000, 256), "float32")
model.fit(X[:64], X[:64, 0], verbose=0)
print("ready", flush=True)
try:
    model.fit(X, X[:, 0], epochs=1_000_000, batch_size=8, verbose=0)
except KeyboardInterrupt:
    print(time.time(), flush=True)
    w, steps = model.parameters["w"], model.parameters["steps"]
    assert steps > 2 and (w == steps).all(), (w.min(), w.max(), steps)
    model.fit(X[:64], X[:64, 0], verbose=0)  # and it can go on
    print("whole")
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_returns_soon_and_leaves_whole_steps(tmp_path):
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    process = subprocess.Popen(
        [sys.executable, "-c", COUNTING],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == "ready\n", process.stderr.read()
        time.sleep(0.7)
        sent = time.time()
        process.send_signal(signal.SIGINT)
        out, errors = process.communicate(timeout=600)
    finally:
        process.kill()
        process.wait()
    returned, word = out.split()
    assert word == "whole", errors
    assert float(returned) - sent < 0.5


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_between_any_two_instructions(shared):
    """An alarm strikes a loop of steps on two threads at random moments, many times."""
    n = 100_000
    x, p = gx.input("x", (n,), "float64"), gx.parameter(np.zeros(n))
    count = gx.parameter(np.zeros(()))
    f = gx.function(x, (), {p: p + x, count: count + 1.0})
    ones, hits, draw = np.ones(n), 0, random.Random(0)

    def strike(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with gx.config(threads=2):
            f(ones)
            start = time.time()
            while time.time() < start + (2 if hits > 100 else 60):  # other processes are at work
                try:
                    # Python drops what is raised in a destructor: then it strikes once more.
                    signal.setitimer(signal.ITIMER_REAL, draw.uniform(1e-5, 2e-3), 2.0)
                    while True:
                        f(ones)
                except KeyboardInterrupt:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                    hits += 1
                values = p.op.cell.array
                assert (values == count.op.cell.array).all()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert hits > 100


class Struck:
    """Stands for a semaphore or a method that Ctrl-C strikes once, before or after its work."""

    def __init__(self, work, *, after):
        self.work, self.after, self.left = work, after, 1

    def __call__(self, *arguments):
        if self.left and not self.after:
            self.left = 0
            raise KeyboardInterrupt
        result = self.work(*arguments)
        if self.left:
            self.left = 0
            raise KeyboardInterrupt
        return result


@pytest.mark.parametrize("place", ["before posting", "after posting", "waking", "woken"])
def test_ctrl_c_while_a_job_is_given_to_the_team(place):
    n = 100_000
    p, count = gx.parameter(np.zeros(n)), gx.parameter(np.zeros(()))
    f = gx.function([], (), {p: gx.exp(p * 0.0) + p, count: count + 1.0})
    with gx.config(threads=3):
        f()
    (bound,) = f._executable._batches
    table = bound.tables["call", 3].words
    squad = Team(3)
    if place in ("before posting", "after posting"):
        squad._post = Struck(squad._post, after=place == "after posting")
    else:
        wake = squad._wake[1]
        wake.release = Struck(wake.release, after=place == "woken")
    with pytest.raises(KeyboardInterrupt):
        squad.run(table, 4)
    done = 1 if place == "before posting" else 5
    for _ in range(3):
        assert count.op.cell.array == done
        assert (p.op.cell.array == done).all()
        time.sleep(0.002)  # workers fall asleep
        squad.run(table, 2)
        done += 2
    assert not squad._lock.locked()


def test_an_epoch_yields_five_times_a_second():
    model = build()
    times = []

    class Watch(gx.callbacks.Callback):
        def on_progress(self, model, epoch, samples, logs):
            times.append(time.perf_counter())

    def gaps():
        times.clear()
        start = time.perf_counter()
        model.fit(*rows, epochs=6, batch_size=64, verbose=0, callbacks=[Watch()])
        assert len(times) >= 6
        return np.diff([start, *times])

    rows = np.tile(X, (40, 1)), np.tile(Y, 40)
    model.fit(*rows, batch_size=256, verbose=0)
    for threads in (1, 2):
        with gx.config(threads=threads):
            tries = [gaps() for _ in range(3)]  # other processes are at work
        assert min(np.quantile(t, 0.95) for t in tries) < 0.2, tries
        assert min(t.max() for t in tries) < 0.4, tries
