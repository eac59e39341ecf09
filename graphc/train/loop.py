"""The loop over epochs: history, progress bar, validation and callbacks."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from graphc.ir.op import Array
from graphc.lazy import lazy_module
from graphc.sealed import Sealed
from graphc.train.callbacks import Callback

if TYPE_CHECKING:
    import tqdm

    from graphc.train.model import Model
else:
    tqdm = lazy_module("tqdm")

Progressed = Iterator[tuple[int, Array]]
"""Samples done so far in an epoch, and the sums of loss and metrics over them."""


class History(Sealed, dict[str, list[float]]):
    """``loss``, the metrics, and each as ``val_...``: lists with one entry an epoch."""

    def _unknown(self, name: str) -> str:
        return f"a History is a dict of lists: history[{name!r}], not history.{name}"

    def add(self, logs: Mapping[str, float]) -> None:
        """Append the values of one epoch."""
        for name, value in logs.items():
            self.setdefault(name, []).append(value)


class Reporter(Protocol):
    """Shows a user how a fit goes on."""

    def progress(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        """Show the means over the ``samples`` of an epoch seen so far."""

    def end_epoch(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        """Show the values of a finished epoch."""

    def close(self) -> None:
        """Leave the last state on the screen."""


class Silent:
    """``verbose=0``."""

    def progress(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        pass

    def end_epoch(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        pass

    def close(self) -> None:
        pass


class Bar:
    """``verbose=1``: one bar over all epochs, with their number, values and samples a second."""

    def __init__(self, first: int, epochs: int, rows: int) -> None:
        self._first = first
        self._epochs = epochs
        self._rows = rows
        self._bar = tqdm.tqdm(
            total=rows * (epochs - first), unit=" samples", unit_scale=True, dynamic_ncols=True
        )

    def progress(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        self._bar.set_description_str(f"epoch {epoch + 1}/{self._epochs}", refresh=False)
        self._bar.set_postfix_str(show(logs), refresh=False)
        self._bar.update((epoch - self._first) * self._rows + samples - self._bar.n)

    def end_epoch(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        self._bar.set_postfix_str(show(logs), refresh=False)

    def close(self) -> None:
        self._bar.close()


class Lines:
    """``verbose=2``: one line an epoch, for logs."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs
        self._start = time.perf_counter()

    def progress(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        pass

    def end_epoch(self, epoch: int, samples: int, logs: Mapping[str, float]) -> None:
        now = time.perf_counter()
        speed = samples / max(now - self._start, 1e-9)
        print(f"epoch {epoch + 1}/{self._epochs}  {show(logs)}  {speed:,.0f} samples/s")
        self._start = now

    def close(self) -> None:
        pass


def show(logs: Mapping[str, float]) -> str:
    """Return ``loss=0.1234 accuracy=0.95``."""
    return " ".join(f"{name}={value:.4g}" for name, value in logs.items())


def reporter(verbose: int, first: int, epochs: int, rows: int) -> Reporter:
    """Return what Keras shows for ``verbose``: 0 nothing, 1 a bar, 2 a line an epoch."""
    if not verbose:
        return Silent()
    return Lines(epochs) if verbose == 2 else Bar(first, epochs, rows)


@dataclass(frozen=True)
class Fit:
    """One call of ``fit``.

    ``steps`` runs an epoch in an order, ``values`` makes scores of its sums over so many samples,
    ``validate`` returns scores.
    """

    model: Model
    history: History
    names: Sequence[str]
    values: Callable[[Array, int], dict[str, float]]
    order: Callable[[], Array]
    steps: Callable[[Array], Progressed]
    validate: Callable[[], dict[str, float]] | None
    callbacks: Sequence[Callback]

    def run(self, first: int, epochs: int, report: Reporter) -> None:
        """Train from epoch ``first`` up to ``epochs``, or until a callback stops it.

        An exception, Ctrl-C among them, leaves the parameters of a finished step, and the
        history of the finished epochs.
        """
        model, warned = self.model, False
        model.stop_training = False
        for callback in self.callbacks:
            callback.on_train_begin(model)
        try:
            for epoch in range(first, epochs):
                samples, logs = self._epoch(epoch, report)
                report.end_epoch(epoch, samples, logs)
                if model.stop_training:
                    break
                if not warned and not math.isfinite(logs["loss"]):
                    warned = True
                    warnings.warn(
                        f"fit: the loss is {logs['loss']} in epoch {epoch + 1}; lower the learning "
                        "rate or check the data (callbacks.TerminateOnNaN() stops there)",
                        RuntimeWarning,
                        stacklevel=3,
                    )
        finally:
            report.close()
        for callback in self.callbacks:
            callback.on_train_end(model)

    def _epoch(self, epoch: int, report: Reporter) -> tuple[int, dict[str, float]]:
        for callback in self.callbacks:
            callback.on_epoch_begin(self.model, epoch)
        samples, logs = 0, dict.fromkeys(self.names, math.nan)
        for done, sums in self.steps(self.order()):
            samples = done
            logs = self.values(sums, done)
            report.progress(epoch, samples, logs)
            for callback in self.callbacks:
                callback.on_progress(self.model, epoch, samples, logs)
            if self.model.stop_training:
                break
        self.model.epochs += 1
        if self.validate is not None:
            logs |= {f"val_{name}": value for name, value in self.validate().items()}
        self.history.add(logs)
        for callback in self.callbacks:
            callback.on_epoch_end(self.model, epoch, logs)
        return samples, logs
