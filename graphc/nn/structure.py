"""Layers that arrange others, and that bring tensors into another shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, overload

from graphc import ops
from graphc.errors import DTypeError, IndexingError, NameOfLayerError, ShapeError, user_location
from graphc.ir.tensor import Tensor
from graphc.nn.module import Callee, Layer, Owner, count, counts, parameters_of
from graphc.types import MAX_RANK, normalize_axis, size_of


class Flatten(Layer):
    """All axes from ``start`` on in one: (N, 28, 28) becomes (N, 784)."""

    def __init__(self, start: int = 1, *, name: str | None = None) -> None:
        super().__init__(name)
        self.start = count("Flatten: start", start)

    def forward(self, x: Tensor) -> Tensor:
        shape = x.type.shape
        return ops.reshape(x, (*shape[: self.start], size_of(shape[self.start :])))


def _axis(kind: str, axis: Any) -> int:
    return count(f"{kind}: an axis", axis, -MAX_RANK)


class Unflatten(Layer):
    """Axis ``axis`` as axes of ``sizes``, one of which may be -1: the inverse of Flatten."""

    def __init__(self, axis: int, sizes: Sequence[int], *, name: str | None = None) -> None:
        super().__init__(name)
        listed = tuple(sizes) if isinstance(sizes, Sequence) else (sizes,)
        counts("Unflatten: sizes", listed, -1)
        self.axis, self.sizes = _axis("Unflatten", axis), listed

    def forward(self, x: Tensor) -> Tensor:
        axis = normalize_axis(self.axis, x.ndim)
        shape = x.type.shape
        return ops.reshape(x, (*shape[:axis], *self.sizes, *shape[axis + 1 :]))


class Reshape(Layer):
    """Samples of another shape, one axis of which may be -1: ``(N, *shape)``."""

    def __init__(self, *shape: int, name: str | None = None) -> None:
        super().__init__(name)
        counts("Reshape: shape", shape, -1)
        self.shape = shape

    def forward(self, x: Tensor) -> Tensor:
        return ops.reshape(x, (x.type.shape[0], *self.shape))


class Permute(Layer):
    """The axes in another order, as :func:`gx.permute_dims` takes it: 0 is that of the batch."""

    def __init__(self, *axes: int, name: str | None = None) -> None:
        super().__init__(name)
        if sorted(_axis("Permute", axis) for axis in axes) != list(range(len(axes))):
            raise ShapeError(
                f"Permute: the axes {axes} must be each of 0 to {len(axes) - 1} once"
                f"\n  at {user_location()}"
            )
        self.axes = axes

    def forward(self, x: Tensor) -> Tensor:
        return ops.permute_dims(x, self.axes)


class Identity(Layer):
    """What comes in."""

    def forward(self, x: Tensor) -> Tensor:
        return x


class Lambda(Layer):
    """Any function of tensors, as a layer with a name and a cluster in pictures."""

    def __init__(self, function: Callable[..., Any], *, name: str | None = None) -> None:
        super().__init__(name)
        if not callable(function):
            raise DTypeError(f"Lambda: {function!r} is not callable\n  at {user_location()}")
        self.function = function

    def forward(self, *inputs: Any) -> Any:
        return self.function(*inputs)


class _Branches(Layer):
    """Layers that all take the same input."""

    def __init__(self, *layers: Callee, name: str | None = None) -> None:
        super().__init__(name)
        for number, layer in enumerate(layers):
            if not callable(layer):
                raise DTypeError(
                    f"{type(self).__name__}: layer {number} is not callable: {layer!r}"
                    f"\n  at {user_location()}"
                )
        self.layers = layers

    def _results(self, inputs: tuple[Any, ...]) -> list[Tensor]:
        """Return what the layers make of one input, or several tensors as they are."""
        if not self.layers:
            return list(inputs[0]) if len(inputs) == 1 else list(inputs)
        return [layer(*inputs) for layer in self.layers]


class Add(_Branches):
    """The sum of what each of ``layers`` makes of the input.

    ``Add(block, nn.Identity())`` is a residual block. Without layers, the sum of the tensors that
    it is called with.
    """

    def forward(self, *inputs: Any) -> Tensor:
        first, *rest = self._results(inputs)
        for term in rest:
            if term.type.shape != first.type.shape:
                raise ShapeError(
                    f"Add: parts of shapes {first.type} and {term.type} cannot be added"
                    f"\n  at {user_location()}"
                )
            first = first + term
        return first


class Concat(_Branches):
    """What each of ``layers`` makes of the input, side by side along ``axis`` (channels).

    Without layers, the tensors that it is called with.
    """

    def __init__(self, *layers: Callee, axis: int = -1, name: str | None = None) -> None:
        super().__init__(*layers, name=name)
        self.axis = _axis("Concat", axis)

    def forward(self, *inputs: Any) -> Tensor:
        return ops.concat(self._results(inputs), self.axis)


class Sequential(Owner):
    """Layers one after the other; any functions from Tensor to Tensor.

    Given a dictionary, layers have its keys for names: ``net["head"]`` is one of them, and its
    weight the parameter ``head.weight``, unless it has a name of its own or was called before.
    """

    def __init__(self, *layers: Callee | Mapping[str, Callee]) -> None:
        self.layers: list[Callee] = []
        self._names: dict[str, int] = {}
        self._called = False
        if len(layers) == 1 and isinstance(layers[0], Mapping):
            named = layers[0]
            self._names = {name: number for number, name in enumerate(named)}
            layers = tuple(named.values())
            for name, part in named.items():
                if isinstance(part, Layer):
                    part.take_name(name)
        for layer in layers:
            self.append(layer)

    def append(self, layer: Any) -> Sequential:
        """Add a layer at the end, and return this object."""
        if not callable(layer):
            raise DTypeError(
                f"Sequential: layer {len(self.layers)} is not callable: {layer!r}; pass layers "
                f"or functions one by one, not in a list\n  at {user_location()}"
            )
        self.layers.append(layer)
        return self

    def fixed(self, name: str) -> str | None:
        if name == "trainable":
            return (
                "it is decided when a layer is made, Linear(..., trainable=False); what one model "
                "trains is decided by gx.Model(..., trainable=[...])"
            )
        if name == "layers" and self._called:
            return "the graphs made with this Sequential keep its layers; make another Sequential"
        return None

    @property
    def trainable(self) -> bool:
        """Whether models train a parameter of these layers."""
        return bool(self.parameters)

    @property
    def parameters(self) -> tuple[Tensor, ...]:
        """The trainable parameters of all layers, each once."""
        return parameters_of(self.layers)

    def __call__(self, x: Tensor) -> Tensor:
        self._called = True
        for layer in self.layers:
            x = layer(x)
        return x

    def __iter__(self) -> Iterator[Callee]:
        return iter(self.layers)

    def __len__(self) -> int:
        return len(self.layers)

    @overload
    def __getitem__(self, index: int | str) -> Callee: ...
    @overload
    def __getitem__(self, index: slice) -> Sequential: ...
    def __getitem__(self, index: int | str | slice) -> Callee | Sequential:
        if isinstance(index, str):
            if index not in self._names:
                known = ", ".join(map(repr, self._names)) or "no names"
                raise NameOfLayerError(
                    f"Sequential: no layer {index!r}; it has {known}\n  at {user_location()}"
                )
            index = self._names[index]
        if not isinstance(index, slice):
            if not -len(self.layers) <= index < len(self.layers):
                raise IndexingError(
                    f"Sequential: no layer {index}; it has {len(self.layers)}"
                    f"\n  at {user_location()}"
                )
            return self.layers[index]
        part = Sequential(*self.layers[index])
        places = range(len(self.layers))[index]
        part._names = {n: places.index(i) for n, i in self._names.items() if i in places}
        return part
