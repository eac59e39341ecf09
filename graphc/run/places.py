"""Where the buffers of a program lie: arrays, views of them, and pointers into them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from graphc.codegen.module import Module
from graphc.ir.layout import Layout
from graphc.ir.op import Array
from graphc.ir.source import Constant, Parameter, address_of, aligned_empty
from graphc.ir.tensor import PHASES
from graphc.plan.program import Access, Buffer, Program
from graphc.run.sizes import MOST_BYTES, check_buffers, out_of_memory
from graphc.schedule.footprint import Pointer, Slice
from graphc.types import dim_at, shape_at


def far(number: int) -> int:
    """Return an address for buffer ``number`` that is no other buffer's and nobody's memory."""
    return (1 << 48) + number * MOST_BYTES


def pointers(memory: Mapping[str, Array]) -> dict[str, Pointer]:
    return {name: Pointer(address_of(a), a.itemsize) for name, a in memory.items()}


def direct_outputs(program: Program) -> dict[str, Buffer]:
    """Return the outputs that are a whole buffer of the arena, which no other output is."""
    counts = Counter(access.buffer for access in program.outputs.values())
    return {
        name: access.buffer
        for name, access in program.outputs.items()
        if access.buffer.kind == "arena"
        and counts[access.buffer] == 1
        and access.shape == access.buffer.shape
        and access.layout == Layout.contiguous(access.shape)
    }


def phases_of_outputs(program: Program) -> tuple[str, ...]:
    """Return the phases before the update that compute the outputs.

    An output may be a gradient: then it is there only after the backward pass.
    """
    shown = {access.buffer for access in program.outputs.values()}
    last = max((c.phase for c in program.calls if shown & set(c.writes)), default=0)
    return PHASES[: min(last + 1, PHASES.index("update"))]


def view_of(array: Array, access: Access, batch: int) -> Array:
    """Return the array that ``access`` sees in a buffer."""
    layout, itemsize = access.layout, array.itemsize
    flat = array.reshape(-1)[dim_at(layout.offset, batch) :]
    strides = tuple(dim_at(s, batch) * itemsize for s in layout.strides)
    return np.lib.stride_tricks.as_strided(flat, shape_at(access.shape, batch), strides)


def parameters_written(program: Program, memory: Mapping[str, Array]) -> Slice | None:
    """Return the addresses of all parameters that the program writes, and of what lies between."""
    written = [memory[b.name] for c in program.calls for b in c.writes if b.kind == "parameter"]
    if not written:
        return None
    first = min(map(address_of, written))
    stop = max(address_of(a) + a.nbytes for a in written)
    return Slice(first, stop - first, 0, 1, written=False)


def place_persistent(program: Program, module: Module) -> tuple[dict[str, Array], dict[str, Array]]:
    """Give what keeps its place its memory, flat where the module says so.

    Returns the arrays by name, and for the parts of flat buffers all that lies from them on.
    Raises :class:`AllocationError` if there is not so much memory.
    """
    owned = [b for b in program.buffers if b.kind in ("parameter", "gradient")]
    check_buffers(owned, 0)
    try:
        return _placed(program, module)
    except MemoryError:
        sizes = [(b.tensor, b.nbytes(0)) for b in owned]
        raise out_of_memory("parameters and gradients", sizes) from None


def _placed(program: Program, module: Module) -> tuple[dict[str, Array], dict[str, Array]]:
    rest: dict[Buffer, Array] = {}
    for flat in module.flats:
        dtype = next(iter(flat.parts)).dtype
        whole = aligned_empty(flat.size * dtype.itemsize).view(dtype)
        whole[...] = 0
        rest.update({buffer: whole[offset:] for buffer, offset in flat.parts.items()})
    result = {}
    for buffer in program.buffers:
        op = buffer.tensor.op
        if buffer.kind == "constant":
            assert isinstance(op, Constant)
            result[buffer.name] = np.ascontiguousarray(op.value.array)
        elif buffer.kind == "parameter":
            assert isinstance(op, Parameter)
            if not op.cell.is_allocated:
                place = rest[buffer].view(np.uint8) if buffer in rest else None
                op.cell.initialize(op.cell.default_rng(), place)
            result[buffer.name] = op.cell.array
        elif buffer.kind == "verdict":
            result[buffer.name] = np.zeros(1, np.int64)
        elif buffer.kind == "gradient":
            nbytes = buffer.nbytes(0)
            memory = rest[buffer].view(np.uint8) if buffer in rest else aligned_empty(nbytes)
            shape = shape_at(buffer.shape, 0)
            result[buffer.name] = memory[:nbytes].view(buffer.dtype).reshape(shape)
    return result, {buffer.name: array for buffer, array in rest.items()}
