"""Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017), as Debian's dataset-fashion-mnist installs it."""

import gzip
import os
import sys
from pathlib import Path

import numpy as np

FOLDER = Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


def read(name: str) -> np.ndarray:
    """Return the array in a file of the format IDX: a magic number, sizes, then bytes."""
    data = gzip.decompress((FOLDER / f"{name}.gz").read_bytes())
    axes = data[3]
    shape = np.frombuffer(data, ">i4", axes, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * axes).reshape(shape)


def load() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return images (N, 28, 28, 1) in [0, 1] and classes: to train on, then to test."""
    if not FOLDER.is_dir():
        sys.exit(
            f"no Fashion-MNIST in {FOLDER}: apt install dataset-fashion-mnist, or set "
            "FASHION_MNIST to a folder with its four .gz files"
        )
    found = []
    for part in ("train", "t10k"):
        images = read(f"{part}-images-idx3-ubyte")[..., None].astype("float32") / 255
        found += [images, read(f"{part}-labels-idx1-ubyte").astype("int64")]
    return tuple(found)


if __name__ == "__main__":
    for array in load():
        print(array.shape, array.dtype)
