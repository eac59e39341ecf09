"""Every example runs as a reader would run it; its own assertions are the test."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "examples"
FASHION = Path("/usr/share/datasets/fashion-mnist")
IMAGES = ("lenet_fashion", "resnet_fashion", "fashion")
SLOW = {
    "lenet_fashion", "resnet_fashion", "char_lstm", "small_bert", "small_gpt", "vision_transformer",
}  # fmt: skip


def run(script, folder, **environment):
    environment = {
        **os.environ, "PYTHONPATH": str(FOLDER.parent), "TMPDIR": str(folder), **environment
    }  # fmt: skip
    return subprocess.run(
        [sys.executable, script], cwd=folder, env=environment, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(path, marks=pytest.mark.slow) if path.stem in SLOW else path
        for path in sorted(FOLDER.glob("*.py"))
    ],
    ids=lambda p: p.stem,
)
def test_example(script, tmp_path):
    if "fashion" in script.stem and not FASHION.is_dir():
        pytest.skip("there is no Fashion-MNIST: apt install dataset-fashion-mnist")
    done = run(script, tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("name", IMAGES)
def test_images_that_are_not_there_are_asked_for(name, tmp_path):
    done = run(FOLDER / f"{name}.py", tmp_path, FASHION_MNIST=str(tmp_path / "none"))
    assert done.returncode == 1
    assert "apt install dataset-fashion-mnist" in done.stderr
    assert "Traceback" not in done.stderr
