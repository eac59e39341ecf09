"""Callbacks against a model that only pretends to train."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from graphc import callbacks as cb
from graphc.errors import DTypeError, ShapeError
from graphc.train.callbacks import FunctionCallback, as_callbacks


class Pretender:
    """Its one parameter is the number of the epoch."""

    def __init__(self):
        self.parameters = {"w": np.zeros(1)}
        self.optimizer = SimpleNamespace(lr=1.0)
        self.stop_training = False
        self.saved = []

    def save(self, path, *, include_optimizer):
        path.write_text(str(self.parameters["w"][0]))
        self.saved.append((path.name, include_optimizer))

    def run(self, callback, values, name="val_loss"):
        callback.on_train_begin(self)
        for epoch, value in enumerate(values):
            callback.on_epoch_begin(self, epoch)
            self.parameters["w"][...] = epoch
            callback.on_epoch_end(self, epoch, {"loss": 1.0, name: value})
            if self.stop_training:
                break
        callback.on_train_end(self)
        return epoch


@pytest.mark.parametrize(("patience", "last"), [(0, 2), (1, 2), (2, 5), (3, 6)])
def test_early_stopping_waits_as_long_as_its_patience(patience, last):
    stop = cb.EarlyStopping(patience=patience)
    assert Pretender().run(stop, [3.0, 2.0, 2.5, 1.0, 1.5, 1.5, 1.5, 1.5]) == last
    assert stop.stopped_epoch == last
    assert stop.best_epoch == (1 if last == 2 else 3)


def test_early_stopping_restores_the_best_whether_it_stopped_or_not():
    model = Pretender()
    model.run(cb.EarlyStopping(patience=2, restore_best=True), [3.0, 1.0, 2.0, 2.0, 0.0])
    assert model.stop_training
    assert model.parameters["w"] == 1
    model = Pretender()
    model.run(cb.EarlyStopping(patience=9, restore_best=True), [3.0, 1.0, 2.0])
    assert not model.stop_training
    assert model.parameters["w"] == 1
    model = Pretender()
    model.run(cb.EarlyStopping(patience=2), [3.0, 1.0, 2.0, 2.0])
    assert model.parameters["w"] == 3


def test_a_small_gain_is_none():
    stop = cb.EarlyStopping(patience=2, min_delta=0.1)
    assert Pretender().run(stop, [1.0, 0.95, 0.91, 0.5]) == 2
    assert stop.best == 1.0


def test_auto_maximises_accuracy_and_minimises_the_rest():
    assert Pretender().run(cb.EarlyStopping("val_accuracy"), [0.1, 0.5, 0.4], "val_accuracy") == 2
    assert Pretender().run(cb.EarlyStopping("val_error"), [0.5, 0.1, 0.4], "val_error") == 2
    assert Pretender().run(cb.EarlyStopping("val_x", mode="max"), [0.1, 0.5, 0.4], "val_x") == 2


def test_nan_is_never_an_improvement():
    model, stop = Pretender(), cb.EarlyStopping(patience=2, restore_best=True)
    assert model.run(stop, [1.0, math.nan, math.nan, 0.0]) == 2
    assert model.parameters["w"] == 0


def test_a_callback_can_be_used_for_a_second_fit():
    stop = cb.EarlyStopping(patience=1)
    Pretender().run(stop, [1.0, 2.0])
    assert Pretender().run(stop, [5.0, 4.0, 3.0]) == 2
    assert stop.stopped_epoch is None


def test_a_value_that_is_not_logged_is_named_with_those_that_are():
    with pytest.raises(ShapeError, match=r"'val_los', but the logs have loss, val_loss"):
        Pretender().run(cb.EarlyStopping("val_los"), [1.0])
    with pytest.raises(ShapeError, match="pass validation_data to fit"):
        cb.EarlyStopping().on_epoch_end(Pretender(), 0, {"loss": 1.0})
    with pytest.raises(ShapeError, match="mode"):
        cb.EarlyStopping(mode="least")
    with pytest.raises(ShapeError, match="patience must be at least 0"):
        cb.EarlyStopping(patience=-1)


def test_checkpoint_saves_every_epoch_or_the_best(tmp_path):
    model = Pretender()
    model.run(cb.Checkpoint(tmp_path / "new" / "last.safetensors"), [3.0, 1.0, 2.0])
    assert (tmp_path / "new" / "last.safetensors").read_text() == "2.0"
    model = Pretender()
    keep = cb.Checkpoint(str(tmp_path / "b.safetensors"), save_best=True, include_optimizer=True)
    model.run(keep, [3.0, 1.0, 2.0])
    assert (tmp_path / "b.safetensors").read_text() == "1.0"
    assert model.saved == [("b.safetensors", True)] * 2


def test_checkpoint_fills_the_fields_of_its_path(tmp_path):
    model = Pretender()
    model.run(cb.Checkpoint(tmp_path / "{epoch:03d}-{val_loss:.2f}.safetensors"), [0.5, 0.25])
    assert [n for n, _ in model.saved] == ["001-0.50.safetensors", "002-0.25.safetensors"]
    with pytest.raises(ShapeError, match="has the field 'accuracy', but an epoch has epoch, loss"):
        model.run(cb.Checkpoint(tmp_path / "{accuracy}"), [0.5])


@pytest.mark.parametrize("schedule", [lambda epoch: 0.5**epoch, lambda epoch, lr: lr / 2])
def test_learning_rate_scheduler_knows_the_epoch_and_may_know_the_rate(schedule):
    model = Pretender()
    model.run(cb.LearningRateScheduler(schedule), [1.0, 1.0, 1.0])
    assert model.optimizer.lr in (0.25, 0.125)
    with pytest.raises(DTypeError, match="a function of the epoch"):
        cb.LearningRateScheduler(0.1)


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_terminate_on_nan(loss):
    model = Pretender()
    cb.TerminateOnNaN().on_progress(model, 0, 32, {"loss": 1.0})
    assert not model.stop_training
    cb.TerminateOnNaN().on_progress(model, 0, 64, {"loss": loss})
    assert model.stop_training


def test_what_can_be_passed_as_callbacks():
    assert as_callbacks(()) == []
    assert isinstance(as_callbacks(lambda epoch, logs: None)[0], FunctionCallback)
    one = cb.TerminateOnNaN()
    assert as_callbacks(one) == [one]
    assert as_callbacks((one,)) == [one]
    with pytest.raises(DTypeError, match="pass an instance"):
        as_callbacks([cb.EarlyStopping])
    for wrong in (3, [3], cb.EarlyStopping):
        with pytest.raises(DTypeError, match="callbacks"):
            as_callbacks(wrong)
