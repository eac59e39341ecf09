"""Named arrays in a safetensors file: written whole or not at all, verified when read."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import ArgumentError, FileError, user_location
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
METADATA = "__metadata__"

_ITEMSIZES = {"BOOL": 1, "U8": 1, "I8": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2, "I32": 4,
              "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8}  # fmt: skip
"""Bytes of an element, of the types that NumPy or the library's NumPy half can hold."""


def write(path: str | os.PathLike[str], arrays: Mapping[str, Array],
          metadata: Mapping[str, str]) -> None:  # fmt: skip
    """Write ``arrays`` to ``path``; a failure leaves the file that was there untouched.

    The metadata gets a digest of names, types and values, which :func:`read` checks. Raises
    :class:`ArgumentError` for a name with which the file could not be read.
    """
    for name in arrays:
        _check_name(name)
    plain = {name: np.array(array, order="C") for name, array in arrays.items()}
    content = safetensors_numpy.save(plain, {**metadata, DIGEST: digest(plain)})
    write_whole(Path(os.path.realpath(path)), content, durable=True)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]:
    """Return the arrays and the metadata of the file at ``path``.

    Raises :class:`FileError` if it is not a safetensors file, is truncated, or its values do
    not match the digest that :func:`write` put there.
    """
    where = f"\n  at {user_location()}"
    if not Path(path).is_file():
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    try:
        _check_header(Path(path))
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = dict(file.metadata() or {})
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (safetensors.SafetensorError, AttributeError, TypeError, LookupError, ValueError,
            RecursionError) as error:  # fmt: skip
        raise FileError(
            f"{path} is not a safetensors file of NumPy arrays, or is damaged: {error}{where}"
        ) from error
    if metadata.get(DIGEST) not in (None, digest(arrays)):
        raise FileError(
            f"{path} is damaged: its values do not match the digest written with them{where}"
        )
    return arrays, metadata


def _check_name(name: str) -> None:
    """Raise :class:`ArgumentError` if the format knows no array of this name."""
    reason = "the format keeps it for its metadata" if name == METADATA else ""
    try:
        name.encode()
    except UnicodeEncodeError:
        reason = "it is no Unicode text: half of a surrogate pair stands alone"
    if reason:
        raise ArgumentError(
            f"no array can be stored under the name {name!r}: {reason}; nothing was written"
            f"\n  at {user_location()}"
        )


def _check_header(path: Path) -> None:
    """Raise ValueError if the header promises what the file does not have.

    The library trusts sizes: one of 512 GB ends in a panic, which is no Exception.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise ValueError("the header does not end within the file")
        header = json.loads(file.read(length))
    if not isinstance(header, dict):
        raise ValueError("the header is no mapping")
    end = 0
    spans = []
    for name, entry in header.items():
        if name != METADATA:
            spans.append(_span(name, entry))
        elif not isinstance(entry, dict) or not all(isinstance(v, str) for v in entry.values()):
            raise ValueError("the metadata are no mapping of texts")
    for start, stop, name in sorted(spans):
        if start != end:
            raise ValueError(f"{name!r} does not follow what stands before it")
        end = stop
    if end != size - 8 - length:
        raise ValueError(f"the arrays take {end} bytes, and the file has {size - 8 - length}")


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """Return where an array starts and stops, after a look at whether its shape agrees."""
    shape, offsets = entry["shape"], entry["data_offsets"]
    numbers = [*shape, *offsets]
    if len(offsets) != 2 or not all(type(n) is int and n >= 0 for n in numbers):
        raise ValueError(f"{name!r} has no shape or place")
    itemsize = _ITEMSIZES.get(entry["dtype"])
    start, stop = offsets
    if itemsize is None:
        raise ValueError(f"{name!r} has the data type {entry['dtype']!r}")
    if math.prod(shape) * itemsize != stop - start:
        raise ValueError(f"{name!r} has a shape of other bytes than its place")
    return start, stop, name


def digest(arrays: Mapping[str, Array]) -> str:
    """Return a digest of names, types, shapes and values, whatever the order of names."""
    total = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        total.update(np.ascontiguousarray(array).data)
    return total.hexdigest()
