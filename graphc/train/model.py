"""A model: a network with its loss, trained, evaluated, asked and saved."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from graphc.errors import DTypeError, user_location
from graphc.ir.op import Array
from graphc.optim.optimizer import cell_of
from graphc.train import checkpoint
from graphc.train.built import SHUFFLE, Built
from graphc.train.callbacks import as_callbacks
from graphc.train.checkpoint import Parameters
from graphc.train.declaration import held_rows, wrong
from graphc.train.feeds import Data, check_is_data, feeds, whole_number
from graphc.train.loop import Fit, History, reporter
from graphc.train.scores import logged, over_batches
from graphc.tree import tree_fill
from graphc.types import BATCH, show_shape

if TYPE_CHECKING:
    from graphc.run.executable import Executable

BATCH_SIZE = 1024
"""Rows that go through the network at a time outside training."""


class Model(Built):
    """A network with its loss, and perhaps an optimiser.

    Parameters
    ----------
    inputs, targets
        What is fed: a Tensor made by ``gx.input``, a list, a tuple, or a dict by name; data
        come in the same structure. ``targets`` may be None.
    outputs
        What :meth:`predict` returns: a Tensor, list, tuple or dict.
    loss
        A floating-point scalar.
    metrics
        ``{name: scalar}``, averaged over an epoch by :meth:`fit` and :meth:`evaluate`.
    optimizer
        From :mod:`graphc.optim`; None for a model that is not trained.
    trainable
        What is trained: parameters, or layers for theirs; None for all that the loss has. So a
        generator's model can leave its discriminator alone. A parameter that no gradient
        reaches (behind ``gx.stop_gradient``) stays as it is: weight decay does not move it.
    updates
        ``{parameter: new value}`` of state of one's own, such as running averages: each step
        replaces them, from the values before it. They are saved with the parameters.
    seed
        Decides initial values and the order of shuffled rows: the same seed and data give the
        same bits.

    Nothing is compiled before it is needed: first the training step, and the inference form
    (without dropout) at the first :meth:`predict` or :meth:`evaluate`.
    """

    # -- training ----------------------------------------------------------------------------

    def fit(
        self,
        X: Any,
        Y: Any = None,
        *,
        epochs: int = 1,
        batch_size: int = 32,
        validation_data: tuple[Any, Any] | None = None,
        validation_split: float = 0.0,
        callbacks: Any = (),
        shuffle: bool = True,
        initial_epoch: int = 0,
        verbose: int = 1,
    ) -> History:
        """Train for ``epochs`` passes over the data; return the history.

        Parameters
        ----------
        X, Y
            Arrays with equally many rows, in the structure of inputs and targets.
        batch_size
            Rows of a step; the last one of an epoch takes those that are left.
        validation_data, validation_split
            ``(X, Y)`` on which every epoch is evaluated, or the share of the last rows to take.
        callbacks
            Objects of :mod:`graphc.train.callbacks`, or functions ``(epoch, logs)``.
        initial_epoch
            Number of the first epoch, from 0; ``epochs`` is where to stop, as in Keras.
        verbose
            0 silent, 1 a progress bar, 2 a line an epoch.

        Losses and metrics are those of all rows of an epoch, if they are formulas of sums over
        rows; else, means over the steps. Ctrl-C leaves the parameters of a
        finished step; :attr:`history` has the epochs until then. A callback may call ``fit``
        itself, on other data: the outer fit then goes on.
        """
        executable = self._stepper("fit")
        self._require_rows()
        batch_size = whole_number("fit: batch_size", batch_size, 1)
        epochs = whole_number("fit: epochs", epochs, 0)
        first = whole_number("fit: initial_epoch", initial_epoch, 0)
        data = self._data(X, Y).converted()
        rows = data.rows
        if not rows:
            raise wrong("fit: the data have no rows")
        validation = self._validation(validation_data)
        if validation_split:
            if validation is not None:
                raise wrong("fit: pass validation_data or validation_split, not both")
            held = held_rows("fit: validation_split", validation_split, rows)
            validation = data.between(rows - held, rows)
            rows -= held
            data = data.between(0, rows)
        listeners = as_callbacks(callbacks)
        outer = self._running  # that of a fit whose callback has called this one
        history = self.history = self._running = History()
        stopped = self.stop_training
        report = reporter(verbose, first, epochs, rows)
        fit = Fit(
            model=self,
            history=history,
            names=tuple(self._scores),
            values=partial(logged, tuple(self._scores), self._summed),
            order=lambda: self._order(rows, shuffle),
            steps=lambda order: executable.epoch(data.arrays, order, batch_size),
            validate=None if validation is None else lambda: self._score(validation, BATCH_SIZE),
            callbacks=listeners,
        )
        try:
            fit.run(first, epochs, report)
        finally:
            self._running = outer
            if outer is not None:
                self.history, self.stop_training = outer, stopped
        return history

    def train_step(self, X: Any, Y: Any = None) -> float:
        """Make one step on one batch; return the loss before it."""
        stepper = self._stepper("train_step")
        values = stepper.train_step(self._feeds("train_step", X, Y))
        return float(values[0])

    def forward(self, X: Any, Y: Any = None) -> dict[str, Any]:
        """Return ``outputs``, ``loss`` and the metrics of one batch, in the training form.

        Dropout is on, with the mask of the next training step. Nothing is updated.
        """
        values = self._training.forward(self._feeds("forward", X, Y))
        outputs = tree_fill(self.outputs, iter([values[n] for n in self._named_outputs]))
        return {"outputs": outputs, **{name: values[name] for name in self._scores}}

    def gradients(self, X: Any, Y: Any = None) -> dict[str, Array]:
        """Return the gradient of the loss on one batch by every trained parameter's name.

        Unclipped, and nothing is updated.
        """
        found = self._training.gradients(self._feeds("gradients", X, Y))
        cells = {p: cell_of(p) for p in self._trained}
        return {
            self._names[p]: found[p].reshape(cell.shape)
            if p in found
            else np.zeros(cell.shape, cell.dtype)
            for p, cell in cells.items()
        }

    # -- inference ---------------------------------------------------------------------------

    def evaluate(self, X: Any, Y: Any = None, *, batch_size: int = BATCH_SIZE) -> dict[str, float]:
        """Return ``loss`` and metrics of all rows, in the inference form, whatever the batches.

        Those that are no formula of sums over rows, such as a maximum, are computed of all rows
        at once, and so need memory for them.
        """
        size = whole_number("evaluate: batch_size", batch_size, 1)
        return self._score(self._data(X, Y), size)

    def predict(self, X: Any, *, batch_size: int = BATCH_SIZE) -> Any:
        """Return the outputs for all rows, in the structure of ``outputs``.

        Rows go through the network ``batch_size`` at a time, all at once if an output has no
        batch axis, or two; an output that mixes rows, such as a softmax along them, mixes those
        of a batch. Random draws are those of the next training step, each row's its own.
        """
        size = whole_number("predict: batch_size", batch_size, 1)
        check_is_data(X)
        data = Data.of(self._inputs.slots, self._inputs.flatten(X))
        tensors = self._named_outputs.values()
        by_rows = all(
            t.ndim and t.type.shape[0] == BATCH and BATCH not in t.type.shape[1:] for t in tensors
        )
        if data.rows is None or not by_rows or self._prediction.whole:
            values = self._prediction(data.converted().arrays)
            return tree_fill(self.outputs, iter([values[name] for name in self._named_outputs]))
        results: list[Array] = []
        for start, stop in data.bounds(size) or [(0, 0)]:
            values = self._prediction(data.between(start, stop).converted().arrays, start)
            if not results:  # sizes that have names are known now
                shapes = [(data.rows, *values[name].shape[1:]) for name in self._named_outputs]
                results = [np.empty(s, t.dtype) for s, t in zip(shapes, tensors, strict=True)]
            for result, name in zip(results, self._named_outputs, strict=True):
                result[start:stop] = values[name]
        return tree_fill(self.outputs, iter(results))

    # -- parameters and files ------------------------------------------------------------------

    @property
    def parameters(self) -> Parameters:
        """``{name: NumPy view}`` of the values in use; assign with ``[...] =``."""
        learned = self._learned
        cells = {name: cell for name, cell in self._cells.items() if name not in learned}
        return Parameters(self._allocated(cells))

    @property
    def state(self) -> Parameters:
        """``{name: NumPy view}`` of what layers learn that no optimizer trains.

        Such as the running statistics of batch normalisation.
        """
        cells = {name: cell for name, cell in self._cells.items() if name in self._learned}
        return Parameters(self._allocated(cells))

    def save(self, path: str | os.PathLike[str], *, include_optimizer: bool = False) -> None:
        """Write the parameters to a safetensors file, whole or not at all.

        With ``include_optimizer`` also what training needs to go on as if it had not stopped:
        the optimiser's state, the random streams and the count of epochs.
        """
        state = self._allocated(self._state) if include_optimizer else {}
        arrays = {name: cell.array for name, cell in state.items()}
        checkpoint.save(path, self._kept, arrays, self.epochs)

    def load(self, path: str | os.PathLike[str], *, include_optimizer: bool | None = None) -> None:
        """Read what :meth:`save` wrote; what does not fit is named, and then nothing changes.

        What training needs to go on is read if the file has it and the model is trained;
        ``include_optimizer=False`` leaves it out, True demands it.
        """
        wanted = include_optimizer is not False and (self.optimizer or include_optimizer)
        state = self._allocated(self._state) if wanted else {}
        arrays = {name: cell.array for name, cell in state.items()}
        epochs = checkpoint.load(path, self._kept, arrays, include_optimizer)
        if epochs is not None:
            self.epochs = epochs

    @property
    def _kept(self) -> Parameters:
        """What a file holds: the parameters, and the state of layers."""
        return Parameters(self._allocated(self._cells))

    # -- what is fed ---------------------------------------------------------------------------

    def _values(self, X: Any, Y: Any) -> Sequence[Any]:
        if Y is None:
            check_is_data(X)
        return (*self._inputs.flatten(X), *self._targets.flatten(Y))

    def _feeds(self, what: str, X: Any, Y: Any) -> list[Array]:
        found = feeds(self._slots, self._values(X, Y))
        if self._rows_of is not None and not len(found[self._rows_of]):
            raise wrong(f"{what}: the data have no rows")
        return found

    def _data(self, X: Any, Y: Any = None) -> Data:
        return Data.of(self._slots, self._values(X, Y))

    def _order(self, rows: int, shuffle: bool) -> Array:
        if not shuffle:
            return np.arange(rows)
        return np.random.default_rng([self.seed, SHUFFLE, self.epochs]).permutation(rows)

    def _require_rows(self) -> None:
        for slot in self._slots:
            if not slot.batched:
                shape = slot.tensor.type.shape
                known = "fixed shape" if all(isinstance(d, int) for d in shape) else "shape"
                raise wrong(
                    f"fit: the {slot.label} has the {known} {show_shape(shape)}, which does not "
                    "begin with the batch, so its rows cannot be drawn; declare its first "
                    "dimension None (gx.moveaxis takes it elsewhere), or use train_step"
                )

    def _validation(self, given: Any) -> Data | None:
        if given is None:
            return None
        if not isinstance(given, (tuple, list)) or len(given) not in (1, 2):
            raise DTypeError(
                f"fit: validation_data must be a pair (X, Y), not {type(given).__name__}"
                f"\n  at {user_location()}"
            )
        data = self._data(*given).converted()
        if data.rows == 0:
            raise wrong("fit: the validation data have no rows")
        return data

    def _score(self, data: Data, batch_size: int) -> dict[str, float]:
        """Return loss and metrics of all rows."""
        if data.rows == 0:
            raise wrong("evaluate: the data have no rows")
        score = self._evaluation
        at_once = score.whole or not all(s.sums for s in self._apart.values())
        bounds = data.bounds((data.rows or 1) if at_once else batch_size)
        values = (score(data.between(a, b).converted().arrays, a) for a, b in bounds)
        return over_batches(self._apart, values, bounds[-1][1])

    def _stepper(self, what: str) -> Executable:
        if self.optimizer is None:
            raise wrong(
                f"{what}: the model has no optimizer; pass one, such as "
                "optimizer=optim.Adam(1e-3), to gx.Model"
            )
        return self._training
