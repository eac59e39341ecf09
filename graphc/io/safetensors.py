"""Named arrays in a safetensors file: written whole or not at all, verified when read."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from graphc.errors import ShapeError, user_location
from graphc.files import write_whole
from graphc.ir.op import Array
from graphc.lazy import lazy_module

if TYPE_CHECKING:
    import safetensors
    import safetensors.numpy as safetensors_numpy
else:
    safetensors = lazy_module("safetensors")
    safetensors_numpy = lazy_module("safetensors.numpy")

DIGEST = "sha256"


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array],
          metadata: Mapping[str, str]) -> None:  # fmt: skip
    """Write ``arrays`` to ``path``; a failure leaves the file that was there untouched.

    The metadata gets a digest of names, types and values, which :func:`read` checks.
    """
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    content = safetensors_numpy.save(plain, {**metadata, DIGEST: digest(plain)})
    write_whole(Path(os.path.realpath(path)), content, durable=True)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of the file at ``path``.

    Raises :class:`ShapeError` if it is not a safetensors file, is truncated, or its values do
    not match the digest that :func:`write` put there.
    """
    where = f"\n  at {user_location()}"
    if not Path(path).is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, AttributeError, TypeError, ValueError) as error:
        raise ShapeError(
            f"{path} is not a safetensors file of NumPy arrays, or is damaged: {error}{where}"
        ) from error
    if metadata.get(DIGEST) not in (None, digest(arrays)):
        raise ShapeError(
            f"{path} is damaged: its values do not match the digest written with them{where}"
        )
    return arrays, metadata


def digest(arrays: Mapping[str, Array]) -> str:
    """Return a digest of names, types, shapes and values, whatever the order of names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
