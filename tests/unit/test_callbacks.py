"""Callbacks against a model that only pretends to train."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import graphc as gx
from graphc import callbacks as cb
from graphc import nn, optim
from graphc.errors import ArgumentError, DTypeError
from graphc.train.callbacks import FunctionCallback, Monitor, as_callbacks


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
    with pytest.raises(ArgumentError, match=r"'val_error', but the logs have loss, val_loss"):
        Pretender().run(cb.EarlyStopping("val_error"), [1.0])
    with pytest.raises(ArgumentError, match="pass validation_data to fit"):
        cb.EarlyStopping().on_epoch_end(Pretender(), 0, {"loss": 1.0})
    with pytest.raises(ArgumentError, match="mode"):
        cb.EarlyStopping(mode="least")
    with pytest.raises(ArgumentError, match="patience must be at least 0"):
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
    with pytest.raises(
        ArgumentError, match="has the field 'accuracy', but an epoch has epoch, loss"
    ):
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


@pytest.mark.parametrize(
    ("name", "larger"),
    [("val_error2", False), ("val_accuracy", True), ("r2", True), ("F1", True), ("loss", False),
     ("val_top5_accuracy", True), ("head1_loss", False), ("mean-recall", True),
     ("val_accuracy_top_5", True)],
)  # fmt: skip
def test_directions_go_by_whole_words(name, larger):
    assert Monitor("EarlyStopping", name).larger is larger


@pytest.mark.parametrize(
    "name",
    [
        "inaccuracy",
        "max_dist_f1x",
        "score",
        "mse_acceleration",
        "negative_log_accuracy",
        "accuracy_gap",
        "one_minus_accuracy",
        "loss_ratio",
        "iou_distance",
        "1",
        "",
    ],
)
def test_a_direction_that_is_not_certain_is_asked_for(name):
    with pytest.raises(ArgumentError, match=rf"{name}' better when larger(.|\n)*test_callbacks.py"):
        cb.EarlyStopping(name)
    with pytest.raises(ArgumentError, match="Pass mode"):
        cb.Checkpoint("m", name, save_best=True)
    assert Monitor("EarlyStopping", name, "max").larger


def data():
    X = np.linspace(-1, 1, 12, dtype="float32").reshape(6, 2)
    return X, X[:, :1] * 2


def small_model():
    x, y = gx.input("x", (None, 2)), gx.input("y", (None, 1))
    out = nn.Linear(2, 1)(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                    optimizer=optim.SGD(0.1), seed=0)  # fmt: skip


def passed(schedule):
    """Return the rates that two epochs are trained with."""
    model, rates = small_model(), []
    model.fit(
        *data(),
        epochs=2,
        verbose=0,
        callbacks=[
            cb.LearningRateScheduler(schedule),
            lambda epoch, logs: rates.append(model.optimizer.lr),
        ],
    )
    return rates


def test_a_schedule_keeps_its_own_defaults():
    assert passed(lambda epoch, decay=0.5: 0.1 * decay**epoch) == [0.1, 0.05]
    assert passed(lambda epoch, rate=0.5: 0.1 * rate**epoch) == [0.1, 0.05]
    assert passed(lambda epoch: 0.1 / (1 + epoch)) == [0.1, 0.05]
    start = small_model().optimizer.lr
    assert passed(lambda epoch, rate: rate / 2) == [start / 2, start / 4]
    assert passed(lambda epoch, lr=None: lr / 2) == [start / 2, start / 4]
    assert passed(lambda *both: both[1] / 2) == [start / 2, start / 4]


def test_a_fit_inside_a_callback_of_another():
    model, seen = small_model(), []

    def again(epoch, logs):
        inner = model.fit(*data(), epochs=1, verbose=0, callbacks=[Stopping()])
        seen.append((inner, model.history))

    class Stopping(cb.Callback):
        def on_epoch_end(self, model, epoch, logs):
            model.stop_training = True

    outer = model.fit(*data(), epochs=3, verbose=0, callbacks=again)
    assert len(outer["loss"]) == 3
    assert model.history is outer
    assert [len(inner["loss"]) for inner, _ in seen] == [1, 1, 1]
    assert all(after is outer for _, after in seen)
    assert not model.stop_training


def test_no_rows():
    model = small_model()
    X, Y = (a[:0] for a in data())
    before = {k: v.copy() for k, v in model.parameters.items()}
    for call in (model.train_step, model.fit, model.evaluate, model.gradients, model.forward):
        with pytest.raises(ArgumentError, match=r"the data have no rows(.|\n)*test_callbacks.py"):
            call(X, Y)
    assert len(model.predict(X)) == 0
    for name, value in model.parameters.items():
        np.testing.assert_array_equal(value, before[name])
