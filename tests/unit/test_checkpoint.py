"""Files of parameters: whole or not at all, and checked before anything changes."""

import copy
import os
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from graphc import files as whole_files
from graphc.errors import ArgumentError, DTypeError, FileError
from graphc.io import safetensors as files
from graphc.ir.source import Cell
from graphc.train import checkpoint
from graphc.train.checkpoint import Parameters


def arrays():
    rng = np.random.default_rng(0)
    return {
        "a.weight": rng.standard_normal((3, 4)).astype("float32"),
        "a.bias": rng.standard_normal(4),
        "steps": np.array(7, "int64"),
        "empty": np.zeros((0, 3), "float32"),
        "mask": np.array([True, False]),
    }


def test_arrays_come_back_bit_for_bit(tmp_path):
    path = tmp_path / "m.safetensors"
    files.write(path, arrays(), {"format": "graphc"})
    found, metadata = files.read(path)
    assert metadata["format"] == "graphc"
    assert found.keys() == arrays().keys()
    for name, value in arrays().items():
        assert found[name].dtype == value.dtype
        assert found[name].shape == value.shape
        np.testing.assert_array_equal(found[name], value)


def test_other_tools_can_read_and_write_the_file(tmp_path):
    path = tmp_path / "m.anything"
    files.write(path, arrays(), {})
    np.testing.assert_array_equal(load_file(path)["a.bias"], arrays()["a.bias"])
    save_file({"x": np.ones(3)}, path)
    np.testing.assert_array_equal(files.read(path)[0]["x"], np.ones(3))


def test_strided_arrays_are_written_as_they_look(tmp_path):
    value = np.arange(12.0).reshape(3, 4)
    files.write(tmp_path / "m", {"t": value.T, "s": value[::2, ::-1]}, {})
    found, _ = files.read(tmp_path / "m")
    np.testing.assert_array_equal(found["t"], value.T)
    np.testing.assert_array_equal(found["s"], value[::2, ::-1])


@pytest.mark.parametrize("where", ["fsync", "replace"])
def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, where):
    path = tmp_path / "m.safetensors"
    files.write(path, {"x": np.ones(3)}, {})

    def fail(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(*((os, "fsync") if where == "fsync" else (type(path), "replace")), fail)
    with pytest.raises(OSError, match="no space"):
        files.write(path, {"x": np.zeros(3)}, {})
    monkeypatch.undo()
    assert os.listdir(tmp_path) == ["m.safetensors"]
    np.testing.assert_array_equal(files.read(path)[0]["x"], np.ones(3))


@pytest.mark.skipif(os.name == "nt", reason="POSIX permissions and links")
def test_permissions_follow_the_umask_and_links_stay_links(tmp_path):
    before = os.umask(0o027)
    try:
        files.write(tmp_path / "m", {"x": np.ones(3)}, {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o640
    (tmp_path / "link").symlink_to(tmp_path / "m")
    files.write(tmp_path / "link", {"x": np.zeros(3)}, {})
    assert (tmp_path / "link").is_symlink()
    assert not files.read(tmp_path / "m")[0]["x"].any()


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*nowhere"):
        files.write(tmp_path / "nowhere" / "m", {}, {})
    with pytest.raises(IsADirectoryError):
        files.write(tmp_path, {}, {})
    with pytest.raises(FileNotFoundError, match="no such file"):
        files.read(tmp_path / "m")


def test_damage_is_found(tmp_path):
    path = tmp_path / "m"
    files.write(path, arrays(), {"format": "graphc"})
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for size in (0, 1, 8, 20, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(FileError, match=r"damaged(.|\n)*test_checkpoint.py"):
            files.read(path)
    for place in rng.integers(len(whole), size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found, _ = files.read(path)
        except FileError:
            continue
        assert found.keys() == arrays().keys()  # the flip fell into the other metadata
        for name, value in arrays().items():
            np.testing.assert_array_equal(found[name], value)
    path.write_bytes(b"not a model at all" * 10)
    with pytest.raises(FileError, match="not a safetensors file"):
        files.read(path)


# -- onto a model ----------------------------------------------------------------------------


def parameters(**shapes):
    return {name: np.zeros(shape, "float32") for name, shape in shapes.items()}


def test_everything_that_does_not_fit_is_named_and_nothing_changes(tmp_path):
    path = tmp_path / "m"
    saved = {"same": np.ones(2, "float32"), "shape": np.ones((2, 3), "float32"),
             "kind": np.ones(2), "extra": np.ones(1)}  # fmt: skip
    checkpoint.save(path, saved, {}, 3)
    model = parameters(same=2, shape=(3, 2), kind=2, gone=5)
    with pytest.raises(FileError) as caught:
        checkpoint.load(path, model, {})
    text = str(caught.value)
    assert "missing: gone float32(5,)" in text
    assert "unknown: extra float64(1,)" in text
    assert "shape: the model has float32(3, 2), the file float32(2, 3)" in text
    assert "kind: the model has float32(2,), the file float64(2,)" in text
    assert "same" not in text.replace("the same", "")
    assert "test_checkpoint.py" in text
    assert not any(array.any() for array in model.values())


def test_state_is_optional_on_both_sides(tmp_path):
    path = tmp_path / "m"
    checkpoint.save(path, {"w": np.ones(2, "float32")}, {"adam.step": np.array(4)}, 9)
    model, state = parameters(w=2), {"adam.step": np.array(0)}
    assert checkpoint.load(path, model, state, False) is None
    assert checkpoint.load(path, model, {}) is None
    assert model["w"].all()
    assert state["adam.step"] == 0
    assert checkpoint.load(path, model, state) == 9
    assert state["adam.step"] == 4
    checkpoint.save(path, {"w": np.ones(2, "float32")}, {}, 9)
    assert checkpoint.load(path, model, state) is None
    with pytest.raises(FileError, match=r"missing: state/adam\.step(.|\n)*include_optimizer=False"):
        checkpoint.load(path, model, state, True)


def test_state_of_another_optimiser_is_named(tmp_path):
    path = tmp_path / "m"
    checkpoint.save(path, {"w": np.ones(2, "float32")}, {"adam.step": np.array(4)}, 9)
    model, state = parameters(w=2), {"sgd.lr": np.array(0.1)}
    with pytest.raises(FileError, match=r"missing: state/sgd(.|\n)*unknown: state/adam"):
        checkpoint.load(path, model, state)
    assert not model["w"].any()


@pytest.mark.parametrize("count", ["9" * 5000, "-1", "x", "\u0663", "1.5", ""])
def test_a_count_of_epochs_that_is_none_changes_nothing(tmp_path, count):
    path = tmp_path / "m"
    files.write(path, {"w": np.ones(2, "f4"), "state/step": np.array(4)}, {"epochs": count})
    model, state = parameters(w=2), {"step": np.array(0)}
    with pytest.raises(FileError, match=r"count of epochs(.|\n)*test_checkpoint.py"):
        checkpoint.load(path, model, state)
    assert not model["w"].any()
    assert state["step"] == 0


@pytest.mark.parametrize("name", ["__metadata__", "half \ud800 a pair"])
def test_names_that_no_file_can_have_are_refused_before_it_is_written(tmp_path, name):
    path = tmp_path / "m"
    files.write(path, {"w": np.ones(2)}, {})
    with pytest.raises(ArgumentError, match=r"no array can be stored(.|\n)*test_checkpoint.py"):
        files.write(path, {"w": np.zeros(2), name: np.zeros(3)}, {})
    assert files.read(path)[0]["w"].all()


def test_a_parameter_that_is_called_like_a_state(tmp_path):
    given = {"state/step": np.ones(2)}
    with pytest.raises(ArgumentError, match="under which a state is stored"):
        checkpoint.save(tmp_path / "m", given, {"step": np.array(1)}, 1)
    checkpoint.save(tmp_path / "m", given, {}, 1)
    found = {"state/step": np.zeros(2)}
    checkpoint.load(tmp_path / "m", found, {"step": np.array(1)})
    assert found["state/step"].all()


def header(path, text, data=b""):
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def entry(shape, offsets, kind=b"F32"):
    return b'{"w":{"dtype":"%s","shape":[%s],"data_offsets":[%s]}}' % (kind, shape, offsets)


HOSTILE = {
    "512 GB": (entry(b"137438953472", b"0,549755813888"), b""),
    "512 GB of nothing": (entry(b"137438953472", b"0,0"), b""),
    "overflow": (entry(b"%d,%d" % (2**40, 2**40), b"0,0"), b""),
    "zero times": (entry(b"%d,1,0" % 2**70, b"0,4"), b"0000"),
    "negative": (entry(b"-1", b"0,4"), b"0000"),
    "backwards": (entry(b"1", b"4,0"), b"0000"),
    "a hole": (entry(b"1", b"4,8"), b"00000000"),
    "more behind": (entry(b"1", b"0,4"), b"00000000"),
    "a type": (entry(b"1", b"0,16", b"F128"), b"0" * 16),
    "true": (entry(b"true", b"0,4"), b"0000"),
    "no entry": (b'{"a":3}', b""),
    "a list": (b"[]", b""),
    "no metadata": (b'{"__metadata__":3}', b""),
    "numbers": (b'{"__metadata__":{"a":3}}', b""),
    "deep": (b"[" * 100_000, b""),
    "no text": (b"\xff\xfe", b""),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_headers_that_promise_what_is_not_there(tmp_path, what):
    path = tmp_path / "m"
    header(path, *HOSTILE[what])
    model = parameters(w=2)
    with pytest.raises(FileError, match=r"damaged(.|\n)*test_checkpoint.py"):
        checkpoint.load(path, model, {})


def test_a_header_that_ends_behind_the_file(tmp_path):
    (tmp_path / "m").write_bytes((2**63).to_bytes(8, "little") + b"{}")
    with pytest.raises(FileError, match="does not end within"):
        files.read(tmp_path / "m")


def test_every_byte_of_a_header_may_be_wrong(tmp_path):
    """Nothing but a FileError, whatever stands there; what is read is what was written."""
    path = tmp_path / "m"
    files.write(path, arrays(), {})
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    length = 8 + int.from_bytes(whole[:8], "little")
    for place in range(length):
        damaged = bytearray(whole)
        damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            found, _ = files.read(path)
        except FileError:
            continue
        for name, value in found.items():
            np.testing.assert_array_equal(value, arrays().get(name, value))


# -- killed while they write -------------------------------------------------------------------

WRITER = """
import sys, os
import numpy as np
from graphc.io import safetensors
array = np.zeros(1 << 20)
print("begun", flush=True)
while True:
    safetensors.write(sys.argv[1], {"w": array}, {})
"""


def leftovers(folder):
    return [p for p in folder.iterdir() if p.name.startswith(".")]


def kill_writers(folder, times):
    """Kill so many processes in the middle of their writing; return the most that was left."""
    rng, most = np.random.default_rng(0), 0
    for _ in range(times):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(folder / "m")],
                                  stdout=subprocess.PIPE)  # fmt: skip
        writer.stdout.readline()
        time.sleep(rng.uniform(0.005, 0.05))
        writer.kill()
        writer.wait()
        writer.stdout.close()
        most = max(most, len(leftovers(folder)))
    return most


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("times", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_what_killed_writers_leave_the_next_sweeps(tmp_path, times):
    files.write(tmp_path / "m", {"w": np.zeros(1)}, {})
    most = kill_writers(tmp_path, times)
    assert most <= 2  # that of the last killed, and of the one before if none wrote since
    files.write(tmp_path / "other", {"w": np.ones(1)}, {})
    assert leftovers(tmp_path) == []
    assert not files.read(tmp_path / "m")[0]["w"].any()


@pytest.mark.skipif(os.name == "nt", reason="POSIX locks")
def test_the_file_of_a_living_writer_stays(tmp_path):
    file, temporary = whole_files._opened(tmp_path / "m")
    foreign = tmp_path / ".m.tmp"
    foreign.write_bytes(b"not ours")
    files.write(tmp_path / "m", {"w": np.ones(1)}, {})
    assert temporary.exists()
    file.close()
    files.write(tmp_path / "m", {"w": np.ones(1)}, {})
    assert not temporary.exists()
    assert foreign.exists()


def test_parameters_are_views_assigned_by_element():
    cell = Cell((2,), np.dtype("float32"), np.zeros(2, "float32"))
    view = Parameters({"w": cell})
    view["w"][...] = 3
    assert cell.array.tolist() == [3, 3]
    view["w"] += 1
    assert cell.array.tolist() == [4, 4]
    view["w"] -= 1
    with pytest.raises(DTypeError, match=r"parameters\['w'\]\[\.\.\.\] = value"):
        view["w"] = np.zeros(2)
    with pytest.raises(KeyError, match="no parameter 'v'; the model has w"):
        view["v"]
    with pytest.raises(ValueError, match="broadcast"):
        view["w"][...] = np.zeros(3)
    kept = copy.deepcopy(view)
    view["w"][...] = 4
    assert kept["w"].tolist() == [3, 3]
    assert repr(view) == "Parameters(w: float32(2,))"
