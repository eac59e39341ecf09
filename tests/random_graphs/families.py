"""Steps that look at the shapes they find: what a function's few samples cannot draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .draw import Drawing

Proposal = tuple[str, list[int], str]
"""The text of a step, its operands, and the function it calls."""

Family = Callable[["Drawing"], "Proposal | None"]


def _of(d: Drawing, least: int = 0, kinds: str = "fib") -> int | None:
    return d.late(lambda t: t.ndim >= least and t.dtype.kind in kinds)


def _axis(d: Drawing, x: int) -> int:
    ndim = d.tensors[x].ndim
    return int(d.rng.integers(-ndim, ndim))


def unary(d: Drawing) -> Proposal | None:
    x = _of(d, kinds="f")
    name = d.pick((
        "exp", "tanh", "sin", "cos", "sigmoid", "softplus", "relu", "erf", "square", "silu", "sqrt",
        "log", "rsqrt", "negative", "abs", "expm1", "atan", "gelu",
    ))  # fmt: skip
    return None if x is None else (f"gx.{name}({{0}})", [x], name)


def formula(d: Drawing) -> Proposal | None:
    """A formula that the passes rewrite."""
    x = _of(d, kinds="f")
    text = d.pick((
        "gx.log(1 + gx.exp({0}))", "gx.log(gx.sigmoid({0}))", "1.0 / (1.0 + gx.exp(-{0}))",
        "gx.exp({0}) - 1.0", "gx.log(1.0 + {0} * {0})", "({0} * 0.5) * 2.0", "{0} * 1.0 + 0.0",
        "-(-{0})", "{0} ** 3", "gx.where({0} > 0, {0}, -{0})", "{0} * {0} - {0}", "{0} / 4.0 + 1.0",
        "{0} * 475.0", "{0} * 1603.0", "2.0 - {0}", "gx.sqrt({0} * {0} + 1.0)",
        "gx.log(gx.softmax({0}, axis=-1))", "gx.log(gx.sum(gx.exp({0}), axis=-1))",
        "gx.exp({0}) / gx.sum(gx.exp({0}), axis=-1, keepdims=True)",
        "({0} - gx.mean({0}, axis=-1, keepdims=True))"
        " * gx.rsqrt(gx.var({0}, axis=-1, keepdims=True) + 1e-3)",
    ))  # fmt: skip
    return None if x is None else (text, [x], "")


def binary(d: Drawing) -> Proposal | None:
    x, y = _of(d, kinds="f"), _of(d, kinds="fi")
    name = d.pick(("add", "subtract", "multiply", "divide", "maximum", "minimum", "hypot", "atan2",
                   "add", "multiply", "logaddexp"))  # fmt: skip
    return None if x is None or y is None else (f"gx.{name}({{0}}, {{1}})", [x, y], name)


def same(d: Drawing) -> Proposal | None:
    """Two operands of one shape, or a tensor with itself."""
    x = _of(d)
    if x is None:
        return None
    y = d.late(lambda t: t.shape == d.tensors[x].shape and t.dtype == d.tensors[x].dtype)
    text = d.pick(("{0} + {1}", "{0} * {1}", "{0} - {1}", "gx.maximum({0}, {1})", "{0} < {1}",
                   "gx.where({0} > {1}, {0}, {1})", "gx.stack([{0}, {1}], axis=0)",
                   "gx.concat([{0}, {1}], axis=-1)", "gx.concat([{0}, {1}, {0}], axis=0)",
                   "gx.where({0} <= {1}, {1}, 0)"))  # fmt: skip
    return text, [x, x if y is None else y], ""


def reduction(d: Drawing) -> Proposal | None:
    x = _of(d, 1)
    if x is None:
        return None
    name = d.pick(("sum", "mean", "max", "min", "sum", "var", "std", "any", "all", "count_nonzero",
                   "argmax", "argmin", "prod", "logsumexp"))  # fmt: skip
    ndim = d.tensors[x].ndim
    axis: Any = _axis(d, x)
    if not name.startswith("arg"):
        axes = [a for a in range(ndim) if d.chance(0.5)]
        axis = d.pick((axis, axis, tuple(axes) or axis, None))
    return f"gx.{name}({{0}}, axis={axis}, keepdims={d.chance(0.4)})", [x], name


def along(d: Drawing) -> Proposal | None:
    x = _of(d, 1)
    if x is None:
        return None
    axis = _axis(d, x)
    text = d.pick((
        "gx.softmax({{0}}, axis={a})", "gx.log_softmax({{0}}, axis={a})",
        "gx.flip({{0}}, axis={a})",
        "gx.cumulative_sum({{0}}, axis={a})", "gx.cumulative_prod({{0}} * 0.5, axis={a})",
        "gx.roll({{0}}, {k}, axis={a})", "gx.expand_dims({{0}}, axis={a})",
        "gx.moveaxis({{0}}, {a}, 0)", "gx.repeat({{0}}, {r}, axis={a})",
    ))  # fmt: skip
    return text.format(a=axis, k=int(d.rng.integers(-5, 6)), r=int(d.rng.integers(1, 4))), [x], ""


def product(d: Drawing) -> Proposal | None:
    x = d.late(lambda t: t.ndim >= 1 and t.dtype.kind == "f" and isinstance(t.type.shape[-1], int))
    if x is None:
        return None
    n = d.tensors[x].type.shape[-1]
    m = int(d.pick((1, 2, 3, 5, 8, 17, 64))) if d.limit > 2000 else int(d.rng.integers(1, 6))
    if n > 4096 and m > 8:
        m = 2
    dtype = d.tensors[x].dtype.name
    way = int(d.rng.integers(6))
    scale = 1.0 / max(n, 1) ** 0.5
    if way == 0:
        return "{0} @ {1}", [x, d.leaf((n, m), dtype, -scale, scale)], "matmul"
    if way == 1:
        return "{0} @ {1}.T", [x, d.leaf((m, n), dtype, -scale, scale)], "matmul"
    if way == 2:
        return "{0} @ {1}", [x, d.leaf((n,), dtype, -scale, scale)], "matmul"
    if way == 3 and d.tensors[x].ndim >= 2:
        text = f"gx.matrix_transpose({{0}}) @ {{0}} * {1 / 16}"
        return text, [x], "matmul"
    if way == 4 and d.tensors[x].ndim >= 2:
        return (
            'gx.einsum("...ij,kj->...ik", {0}, {1})',
            [x, d.leaf((m, n), dtype, -scale, scale)],
            "einsum",
        )
    return (
        "gx.relu({0} @ {1} + {2})",
        [x, d.leaf((n, m), dtype, -scale, scale), d.leaf((m,), dtype)],
        "",
    )


def view(d: Drawing) -> Proposal | None:
    x = _of(d, 1)
    if x is None:
        return None
    t = d.tensors[x]
    shape = d.values[t].shape
    way = int(d.rng.integers(8))
    if way == 0:
        axes = tuple(int(a) for a in d.rng.permutation(t.ndim))
        return f"gx.permute_dims({{0}}, {axes})", [x], "permute_dims"
    if way == 1:
        return "gx.reshape({0}, (-1,))", [x], "reshape"
    if way == 2 and t.ndim >= 2:
        fixed = list(t.shape[1:])
        if all(isinstance(s, int) for s in fixed):
            rest = 1
            for s in fixed:
                rest *= s
            return f"gx.reshape({{0}}, (-1, {rest}))", [x], "reshape"
    if way == 3 and None not in t.shape and all(isinstance(s, int) for s in t.shape):
        return f"gx.reshape({{0}}, {tuple(reversed(shape))})", [x], "reshape"
    if way == 4:
        return f"gx.expand_dims({{0}}, axis={_axis(d, x)})", [x], "expand_dims"
    if way == 5:
        return (
            "gx.broadcast_to({0}, (2, *{0}.shape))" if None not in t.shape else "{0}[None]",
            [x],
            "",
        )
    if way == 6 and t.ndim >= 2:
        return "gx.matrix_transpose({0})", [x], "matrix_transpose"
    return indexed(d)


def indexed(d: Drawing) -> Proposal | None:
    """Slices of any start, stop and step, places, and new axes."""
    x = _of(d, 1)
    if x is None:
        return None
    shape = d.values[d.tensors[x]].shape
    key = []
    for n in shape:
        ends = [None, 0, 1, 2, -1, -2, n // 2, n, n + 3]
        what = d.rng.random()
        if what < 0.15 and n:
            key.append(str(d.pick((0, -1))))
        elif what < 0.3:
            key.append(":")
        else:
            start, stop = d.pick(ends), d.pick(ends)
            step = d.pick((None, None, 1, 2, -1, -2, 3))
            key.append(":".join("" if p is None else str(p) for p in (start, stop, step)))
        if d.chance(0.1):
            key.append("None")
    return f"{{0}}[{', '.join(key)}]", [x], "getitem"


def gathered(d: Drawing) -> Proposal | None:
    x = _of(d, 1)
    if x is None:
        return None
    axis = _axis(d, x)
    n = d.values[d.tensors[x]].shape[axis]
    if not n:
        return None
    count = int(d.rng.integers(1, 6))
    low = d.pick((0, -n))
    index = d.leaf((count,), d.pick(("int64", "int32")), low, n - 1)
    return f"gx.take({{0}}, {{1}}, axis={axis})", [x, index], "take"


def padded(d: Drawing) -> Proposal | None:
    x = _of(d, 1)
    if x is None:
        return None
    width = tuple((int(a), int(b)) for a, b in d.rng.integers(0, 3, (d.tensors[x].ndim, 2)))
    mode = d.pick(("constant", "constant", "edge", "reflect", "wrap", "symmetric"))
    return f'gx.pad({{0}}, {width}, mode="{mode}")', [x], "pad"


def cast(d: Drawing) -> Proposal | None:
    x = _of(d)
    to = d.pick(("float32", "float64", "int32", "int64", "bool"))
    return None if x is None else (f'{{0}}.astype("{to}")', [x], "astype")


def masked(d: Drawing) -> Proposal | None:
    x, c = _of(d), d.late(lambda t: t.dtype.kind == "b")
    if x is None:
        return None
    if c is None:
        return "gx.where({0} > 0.25, {0}, 0)", [x], "where"
    return f"gx.where({{1}}, {{0}}, {d.pick((0, 1, -1))})", [x, c], "where"


FAMILIES: tuple[Family, ...] = (
    unary, unary, formula, formula, binary, binary, same, same, reduction, reduction, along,
    product, product, view, view, indexed, gathered, padded, cast, masked,
)  # fmt: skip
"""Each as often as it stands here."""
