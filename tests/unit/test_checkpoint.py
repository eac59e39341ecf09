"""Files of parameters: whole or not at all, and checked before anything changes."""

import copy
import os
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from graphc.errors import DTypeError, ShapeError
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
        with pytest.raises(ShapeError, match=r"damaged(.|\n)*test_checkpoint.py"):
            files.read(path)
    for place in rng.integers(len(whole), size=60):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            found, _ = files.read(path)
        except ShapeError:
            continue
        assert found.keys() == arrays().keys()  # the flip fell into the other metadata
        for name, value in arrays().items():
            np.testing.assert_array_equal(found[name], value)
    path.write_bytes(b"not a model at all" * 10)
    with pytest.raises(ShapeError, match="not a safetensors file"):
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
    with pytest.raises(ShapeError) as caught:
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
    assert checkpoint.load(path, model, {}) == 9
    assert model["w"].all()
    assert state["adam.step"] == 0
    checkpoint.load(path, model, state)
    assert state["adam.step"] == 4
    checkpoint.save(path, {"w": np.ones(2, "float32")}, {}, 9)
    with pytest.raises(ShapeError, match=r"missing: state/adam\.step"):
        checkpoint.load(path, model, state)


def test_parameters_are_views_assigned_by_element():
    cell = Cell((2,), np.dtype("float32"), np.zeros(2, "float32"))
    view = Parameters({"w": cell})
    view["w"][...] = 3
    assert cell.array.tolist() == [3, 3]
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
