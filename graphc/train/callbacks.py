"""What can watch and steer a fit: ``gx.callbacks``.

Derive from :class:`Callback` and override what you need, or pass a plain function
``(epoch, logs)``, called after every epoch. Set ``model.stop_training = True`` to stop.
"""

from __future__ import annotations

import inspect
import math
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from graphc.errors import ArgumentError, DTypeError, SettingError, user_location
from graphc.ir.op import Array
from graphc.sealed import Sealed, close_name
from graphc.train.feeds import whole_number

if TYPE_CHECKING:
    from graphc.train.model import Model

Logs = Mapping[str, float]
Mode = Literal["auto", "min", "max"]

MAXIMISED = {"acc", "accuracy", "auc", "auroc", "f1", "r2", "precision", "recall", "sensitivity",
             "specificity", "iou", "dice", "bleu", "rouge", "psnr", "ssim"}  # fmt: skip
"""Words of the names of values that are better when larger."""

MINIMISED = {"loss", "error", "err", "mse", "mae", "rmse", "msle", "mape", "nll", "bce", "kl",
             "cost", "perplexity", "divergence", "deviance", "entropy", "wer"}  # fmt: skip
"""Words of the names of values that are better when smaller."""


NEUTRAL = {"at", "avg", "binary", "k", "macro", "mean", "micro", "per", "test", "top", "total",
           "train", "val", "weighted"}  # fmt: skip
"""Words of a name behind one that tells the direction, which they leave as it is."""

REVERSING = {"anti", "inv", "inverse", "minus", "neg", "negative", "no", "non", "not", "one", "un"}
"""Words that may turn it round."""


class Callback(Sealed):
    """Does nothing at each event; ``epoch`` counts from 0.

    A method ``on_...`` that is none of these hooks, or that takes other arguments, is an error
    when the class is made: it would never be called.
    """

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _check_hooks(cls, dir(cls))

    def on_train_begin(self, model: Model) -> None:
        """Before the first epoch."""

    def on_epoch_begin(self, model: Model, epoch: int) -> None:
        """Before an epoch's first step."""

    def on_progress(self, model: Model, epoch: int, samples: int, logs: Logs) -> None:
        """Within an epoch, several times a second: the means over its ``samples`` so far.

        Steps run inside compiled code; this is where Python sees control again.
        """

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        """After an epoch and its validation: ``loss``, the metrics, and each as ``val_...``."""

    def on_train_end(self, model: Model) -> None:
        """After the last epoch; not when an exception or Ctrl-C ends the fit."""


def _accepts(function: Callable[..., Any], *args: Any) -> bool:
    try:
        inspect.signature(function).bind(*args)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return False
    return True


def _check_hooks(owner: Any, names: Iterable[str]) -> None:
    """Raise :class:`SettingError` if one of ``names`` looks like a hook and is none."""
    hooks = [name for name in vars(Callback) if name.startswith("on_")]
    kind = owner if isinstance(owner, type) else type(owner)
    for name in names:
        if not name.startswith("on_"):
            continue
        if name not in hooks:
            meant = close_name(name, hooks)
            hint = f"did you mean {meant}? " if meant else ""
            raise SettingError(
                f"{kind.__name__}.{name} is no hook of a Callback and would never be called; "
                f"{hint}The hooks are {', '.join(hooks)}\n  at {user_location()}"
            )
        given, wanted = getattr(owner, name), inspect.signature(getattr(Callback, name))
        count = len(wanted.parameters) - (not isinstance(owner, type))
        if given is not getattr(Callback, name) and not _accepts(given, *range(count)):
            raise DTypeError(
                f"{kind.__name__}.{name} must take {wanted}, as that of Callback does"
                f"\n  at {user_location()}"
            )


class FunctionCallback(Callback):
    """Calls ``function(epoch, logs)`` after every epoch."""

    def __init__(self, function: Callable[[int, Logs], Any]) -> None:
        self.function = function

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        self.function(epoch, logs)


class Monitor:
    """The best of a value that is logged every epoch; NaN is never better."""

    def __init__(self, who: str, name: str, mode: Mode = "auto", min_delta: float = 0.0) -> None:
        if mode not in ("auto", "min", "max"):
            raise ArgumentError(
                f'{who}: mode is "auto", "min" or "max", not {mode!r}\n  at {user_location()}'
            )
        self.who = who
        self.name = name
        self.larger = _is_maximised(who, name) if mode == "auto" else mode == "max"
        self.min_delta = abs(min_delta)
        self.reset()

    def reset(self) -> None:
        self.best = -math.inf if self.larger else math.inf

    def improves(self, logs: Logs) -> bool:
        """Tell whether the value has got better by more than ``min_delta``, and keep it."""
        if self.name not in logs:
            advice = "; pass validation_data to fit" if self.name.startswith("val_") else ""
            raise ArgumentError(
                f"{self.who} monitors {self.name!r}, but the logs have {', '.join(logs)}{advice}"
                f"\n  at {user_location()}"
            )
        value = logs[self.name]
        gain = value - self.best if self.larger else self.best - value
        if not gain > self.min_delta:
            return False
        self.best = value
        return True


def _is_maximised(who: str, name: str) -> bool:
    """Tell from the words of a name whether a larger value is better, or raise.

    The last word that is not neutral decides: ``digit_accuracy`` is one, ``accuracy_gap`` none.
    """
    plain = [w.rstrip("0123456789") for w in re.split(r"[^a-z0-9]+", name.lower())]
    exact = [w for w in re.split(r"[^a-z0-9]+", name.lower()) if w]
    words = [e if e in MAXIMISED | MINIMISED else p for e, p in zip(exact, plain, strict=False)]
    last = next((w for w in reversed(words) if w and w not in NEUTRAL), "")
    if last not in MAXIMISED | MINIMISED or REVERSING & set(words):
        raise ArgumentError(
            f'{who}: is {name!r} better when larger or when smaller? Pass mode="max" or "min"'
            f"\n  at {user_location()}"
        )
    return last in MAXIMISED


class EarlyStopping(Callback):
    """Stop when the monitored value has not improved for ``patience`` epochs, as in Keras.

    An improvement is a change for the better by more than ``min_delta``. ``mode`` ``"auto"``
    maximises names that end in a word of :data:`MAXIMISED`, minimises those that end in one
    of :data:`MINIMISED`, and is an error for all others. With
    ``restore_best`` the parameters of the best epoch are put back at the end of training,
    whether it stopped early or not. ``best``, ``best_epoch`` and ``stopped_epoch`` tell.
    """

    def __init__(
        self,
        monitor: str = "val_loss",
        patience: int = 0,
        min_delta: float = 0.0,
        mode: Mode = "auto",
        restore_best: bool = False,
    ) -> None:
        self.patience = whole_number("EarlyStopping: patience", patience, 0)
        self.restore_best = restore_best
        self._monitor = Monitor("EarlyStopping", monitor, mode, min_delta)
        self._reset()

    def _reset(self) -> None:
        self._monitor.reset()
        self._kept: dict[str, Array] = {}
        self.waited = 0
        self.best_epoch: int | None = None
        self.stopped_epoch: int | None = None

    @property
    def best(self) -> float:
        """The best value seen in this fit."""
        return self._monitor.best

    def on_train_begin(self, model: Model) -> None:
        self._reset()

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        if self._monitor.improves(logs):
            self.waited = 0
            self.best_epoch = epoch
            if self.restore_best:
                self._kept = {name: view.copy() for name, view in model.parameters.items()}
            return
        self.waited += 1
        if self.waited >= max(self.patience, 1):
            self.stopped_epoch = epoch
            model.stop_training = True

    def on_train_end(self, model: Model) -> None:
        for name, values in self._kept.items():
            model.parameters[name][...] = values


class Checkpoint(Callback):
    """Save the model after every epoch, or with ``save_best`` when ``monitor`` has improved.

    ``path`` may hold fields that an epoch fills: ``"run/{epoch:03d}-{val_loss:.3f}.safetensors"``
    (``epoch`` from 1); its folder is made if need be. A file is replaced only once the new one
    is complete. ``monitor`` and ``mode`` are as in :class:`EarlyStopping`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        monitor: str = "val_loss",
        save_best: bool = False,
        mode: Mode = "auto",
        include_optimizer: bool = False,
    ) -> None:
        self.path = os.fspath(path)
        self.include_optimizer = include_optimizer
        self._monitor = Monitor("Checkpoint", monitor, mode) if save_best else None

    def on_epoch_end(self, model: Model, epoch: int, logs: Logs) -> None:
        if self._monitor is not None and not self._monitor.improves(logs):
            return
        try:
            path = Path(self.path.format(epoch=epoch + 1, **logs))
        except (KeyError, IndexError) as error:
            raise ArgumentError(
                f"Checkpoint: {self.path!r} has the field {error}, but an epoch has epoch, "
                f"{', '.join(logs)}\n  at {user_location()}"
            ) from None
        path.parent.mkdir(parents=True, exist_ok=True)
        model.save(path, include_optimizer=self.include_optimizer)


class LearningRateScheduler(Callback):
    """Set the learning rate before each epoch: ``schedule(epoch)`` or ``schedule(epoch, lr)``.

    The rate is passed to a second parameter that has no default, or is called ``lr`` or
    ``learning_rate``: another default is the function's own.
    """

    def __init__(self, schedule: Callable[..., float]) -> None:
        if not callable(schedule):
            raise DTypeError(
                f"LearningRateScheduler takes a function of the epoch, not {schedule!r}"
                f"\n  at {user_location()}"
            )
        self.schedule = schedule
        self._takes_rate = _takes_rate(schedule)

    def on_epoch_begin(self, model: Model, epoch: int) -> None:
        optimizer = model.optimizer
        if optimizer is None:
            return
        known = (epoch, optimizer.lr) if self._takes_rate else (epoch,)
        optimizer.lr = self.schedule(*known)


def _takes_rate(schedule: Callable[..., float]) -> bool:
    """Tell whether the second argument of a schedule is the learning rate."""
    if not _accepts(schedule, 0, 0.0):
        return False
    parameters = list(inspect.signature(schedule).parameters.values())[:2]
    last = parameters[-1]
    own = last.kind is not last.VAR_POSITIONAL and last.default is not last.empty
    return not own or last.name in ("lr", "learning_rate")


class TerminateOnNaN(Callback):
    """Stop as soon as the running loss is NaN or infinite."""

    def on_progress(self, model: Model, epoch: int, samples: int, logs: Logs) -> None:
        if not math.isfinite(logs["loss"]):
            model.stop_training = True


def as_callbacks(given: Any) -> list[Callback]:
    """Return a user's callback, function, or sequence of them as callbacks."""
    if isinstance(given, Callback) or (callable(given) and not isinstance(given, type)):
        given = [given]
    if not isinstance(given, (list, tuple)):
        raise DTypeError(
            f"callbacks must be a list of Callback or functions (epoch, logs), not {given!r}"
            f"\n  at {user_location()}"
        )
    return [_as_callback(one) for one in given]


def _as_callback(given: Any) -> Callback:
    if isinstance(given, Callback):
        _check_hooks(given, vars(given))
        return given
    if isinstance(given, type):
        raise DTypeError(
            f"callbacks: pass an instance, {given.__name__}(...), not the class"
            f"\n  at {user_location()}"
        )
    if not callable(given):
        raise DTypeError(
            f"callbacks: {given!r} is neither a Callback nor a function (epoch, logs)"
            f"\n  at {user_location()}"
        )
    return FunctionCallback(given)
