"""What a user declares as a model, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from graphc.autodiff.adjoint import grad, reaching
from graphc.errors import ArgumentError, DTypeError, user_location
from graphc.ir.source import Parameter
from graphc.ir.tensor import Tensor, call
from graphc.ops.operands import as_tensor
from graphc.optim.optimizer import Optimizer


def wrong(message: str) -> ArgumentError:
    return ArgumentError(f"{message}\n  at {user_location()}")


def check_distinct(inputs: Iterable[Tensor]) -> None:
    """Raise :class:`ArgumentError` if a tensor stands twice among inputs and targets."""
    seen: set[int] = set()
    for tensor in inputs:
        if tensor.id in seen:
            raise wrong(
                f"Model: {tensor.describe()} stands twice among inputs and targets; what is fed "
                "as an input can be used in the loss as it is"
            )
        seen.add(tensor.id)


def is_trainable(parameter: Tensor) -> bool:
    op = parameter.op
    return isinstance(op, Parameter) and op.trainable and parameter.dtype.kind == "f"


def checked_updates(updates: Any, optimizer: Optimizer | None) -> dict[Tensor, Tensor]:
    """Return the updates of a user's own state as tensors of the types of its parameters."""
    if updates is None:
        return {}
    if not isinstance(updates, Mapping):
        raise DTypeError(
            "Model: updates must be a dict {parameter: new value}, not "
            f"{type(updates).__name__}\n  at {user_location()}"
        )
    if updates and optimizer is None:
        raise wrong(
            "Model: updates are made by training steps, and the model has no optimizer; use "
            "gx.function(..., updates=...)"
        )
    result = {}
    for parameter, value in updates.items():
        if not isinstance(parameter, Tensor) or not isinstance(parameter.op, Parameter):
            shown = parameter.describe() if isinstance(parameter, Tensor) else repr(parameter)
            raise DTypeError(
                f"Model: updates has {shown}, which is not a parameter\n  at {user_location()}"
            )
        new = as_tensor(value)
        if new.type != parameter.type:
            raise wrong(
                f"Model: the new value of {parameter.describe()} in updates is {new.type}; "
                "cast or reshape it"
            )
        result[parameter] = new
    return result


def trained_parameters(
    given: Any, names: Mapping[Tensor, str], loss: Tensor, updates: Mapping[Tensor, Tensor]
) -> list[Tensor]:
    """Return those of a model's parameters that it trains, in order.

    ``given`` holds parameters, or layers with ``.parameters``; None stands for all. What has
    an update of its own is not trained, and must not be.
    """
    chosen = _chosen(given, names)
    own = [p for p in chosen if p in updates]
    for p, gradient in zip(own, grad(loss, own, unconnected="none"), strict=True):
        if gradient is not None or given is not None:
            raise wrong(
                f"Model: {names[p]}: {p.type} is trained and has an update of its own; declare "
                "it with trainable=False, or name what to train with gx.Model(trainable=[...])"
            )
    return [p for p in chosen if p not in updates]


def _chosen(given: Any, names: Mapping[Tensor, str]) -> list[Tensor]:
    if given is None:
        return [p for p in names if is_trainable(p)]
    several = isinstance(given, (list, tuple, set, frozenset))
    chosen = {p for part in (given if several else [given]) for p in _parameters_of(part)}
    for p in chosen:
        if p not in names:
            raise wrong(f"Model: trainable has {p.describe()}, which the model does not use")
        if not is_trainable(p):
            raise wrong(
                f"Model: trainable has {names[p]}: {p.type}, which was declared with "
                "trainable=False or is not floating-point"
            )
    return [p for p in names if p in chosen]


def _parameters_of(part: Any) -> Sequence[Tensor]:
    if isinstance(part, Tensor) and isinstance(part.op, Parameter):
        return (part,)
    found = getattr(part, "parameters", None)
    if isinstance(part, Tensor) or not isinstance(found, tuple):
        raise DTypeError(
            "Model: trainable must be a list of parameters, or layers for theirs, not "
            f"{part!r}\n  at {user_location()}"
        )
    return found


def gradients_of(
    loss: Tensor, trained: Sequence[Tensor], names: Mapping[Tensor, str]
) -> dict[Tensor, Tensor]:
    """Return the gradients of ``loss``, without the parameters that none reaches.

    Raises :class:`ArgumentError` naming those that the loss does not even depend on.
    """
    reached = {t.id for t in reaching([loss], trained)}
    lost = [p for p in trained if p.id not in reached]
    if lost:
        named = "".join(f"\n    {names[p]}: {p.type}  (made at {p.loc})" for p in lost)
        raise wrong(
            f"Model: the loss does not depend on these trainable parameters:{named}\n"
            "  use them in the loss, declare them with trainable=False, or name those to train "
            "with gx.Model(trainable=[...])"
        )
    found = grad(loss, list(trained), unconnected="none")
    return {p: g for p, g in zip(trained, found, strict=True) if g is not None}


def _scalar(what: str, tensor: Any) -> Tensor:
    if not isinstance(tensor, Tensor):
        raise DTypeError(
            f"Model: {what} must be a Tensor, not {type(tensor).__name__}\n  at {user_location()}"
        )
    if tensor.type.shape != ():
        raise wrong(
            f"Model: {what} must be a scalar, got {tensor.describe()}; reduce it with mean or sum"
        )
    return tensor


def checked_loss(loss: Any) -> Tensor:
    tensor = _scalar("loss", loss)
    if tensor.dtype.kind != "f":
        raise DTypeError(
            f"Model: loss must be floating-point, got {tensor.describe()}\n  at {user_location()}"
        )
    return tensor


def checked_metrics(metrics: Any) -> dict[str, Tensor]:
    """Return the metrics as floating-point scalars."""
    if metrics is None:
        return {}
    if not isinstance(metrics, Mapping):
        raise DTypeError(
            "Model: metrics must be a dict {name: scalar Tensor}, not "
            f"{type(metrics).__name__}\n  at {user_location()}"
        )
    scalars = {str(name): _scalar(f"metric {name!r}", m) for name, m in metrics.items()}
    return {n: m if m.dtype.kind == "f" else call("astype", m, "float32")
            for n, m in scalars.items()}  # fmt: skip


def checked_optimizer(optimizer: Any) -> Optimizer | None:
    if optimizer is None or isinstance(optimizer, Optimizer):
        return optimizer
    raise DTypeError(
        f"Model: optimizer must be one of graphc.optim, such as optim.Adam(1e-3), not "
        f"{optimizer!r}\n  at {user_location()}"
    )


def named_outputs(path: str, outputs: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the outputs with a name for each: ``output``, ``output.0``, ``output.mean``."""
    if isinstance(outputs, Tensor):
        yield path, outputs
    elif isinstance(outputs, dict):
        for key, part in outputs.items():
            yield from named_outputs(f"{path}.{key}", part)
    elif isinstance(outputs, (list, tuple)):
        for place, part in enumerate(outputs):
            yield from named_outputs(f"{path}.{place}", part)
    else:
        raise DTypeError(
            f"Model: outputs must be Tensors, or lists, tuples or dicts of them, not "
            f"{type(outputs).__name__}\n  at {user_location()}"
        )


def check_names(metrics: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
    if not outputs:
        raise wrong("Model: there are no outputs")
    for name in metrics:
        if name == "loss" or name in outputs or name.startswith("val_"):
            raise wrong(f"Model: a metric cannot be called {name!r}; choose another name")


def held_rows(what: str, value: Any, rows: int) -> int:
    """Return how many of ``rows`` the share ``value`` of them is, with some left on both sides."""
    if not 0.0 < value < 1.0:
        raise wrong(f"{what} must be between 0 and 1, got {value}")
    held = int(rows * value)
    if not held:
        raise wrong(f"{what}={value} leaves no validation rows of {rows}")
    return held
