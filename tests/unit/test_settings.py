"""What a user can set: each attribute of each public class takes effect, or raises."""

from __future__ import annotations

import copy
import inspect
import math
import os
import pickle
import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim
from graphc.config import Options, options
from graphc.errors import ArgumentError, GraphcError, SettingError
from graphc.machine import known
from graphc.machine.record import USUAL
from graphc.ops.state import state_updates
from graphc.optim.optimizer import Optimizer
from graphc.sealed import SYNONYMS, Sealed
from graphc.tree import tree_leaves

config = sys.modules["graphc.config"]

X = np.linspace(-2, 2, 24, dtype="float32").reshape(8, 3)
Y = X[:, :1] ** 2


def make_model(optimizer=None, **options):
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 1))
    out = nn.Linear(3, 1, weight_init=nn.init.ones)(x)
    return gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
        optimizer=optimizer or optim.SGD(0.1), **options,
    )  # fmt: skip


def public_data(thing):
    """Return the public attributes that hold data, or a property that reads them."""
    names = [n for n in dir(thing) if not n.startswith("_")]
    return [n for n in names if not callable(getattr(type(thing), n, None))]


def other(value):
    """Return another value of a setting of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, (int, float)):
        return type(value)(value / 2 if value else 1)
    if isinstance(value, tuple):
        return tuple(map(other, value))
    return {"none": "tanh"}.get(value, object()) if isinstance(value, str) else object()


def classes(module, base):
    found = (getattr(module, name) for name in dir(module))
    return [c for c in found if isinstance(c, type) and issubclass(c, base) and c is not base]


# -- optimisers ----------------------------------------------------------------------------------

OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.5, "dampening": 0.1, "weight_decay": 0.1},
    "Adam": {"lr": 0.1, "weight_decay": 0.1},
    "AdamW": {"lr": 0.1},
    "RMSprop": {"lr": 0.1, "momentum": 0.5, "weight_decay": 0.1},
    "Adagrad": {"lr": 0.1, "lr_decay": 0.1, "weight_decay": 0.1},
}


@pytest.mark.parametrize("cls", classes(optim, Optimizer), ids=lambda c: c.__name__)
def test_every_attribute_of_an_optimiser_takes_effect_or_raises(cls):
    def trained(change):
        options = OPTIMIZERS[cls.__name__] | ({"eps": 0.1} if hasattr(cls, "eps") else {})
        model = make_model(cls(**options, clip_norm=0.5, clip_value=0.4))
        model.train_step(X, Y)
        change(model.optimizer)
        for _ in range(3):
            model.train_step(X, Y)
        return model.parameters["linear_0.weight"].copy()

    plain = trained(lambda optimizer: None)
    refused = []
    names = public_data(cls(**OPTIMIZERS[cls.__name__]))
    assert set(cls.settings()) <= set(names)
    for name in names:

        def change(optimizer, name=name):
            setattr(optimizer, name, other(getattr(optimizer, name)))

        try:
            changed = trained(change)
        except SettingError as error:
            refused.append((name, str(error)))
        else:
            assert (changed != plain).any(), name
    assert not {name for name, _ in refused} & set(cls.settings())
    assert all("test_settings.py:" in message for _, message in refused)


@pytest.mark.parametrize(
    ("cls", "name", "hint"),
    [
        (optim.Adam, "learning_rate", r"did you mean lr\?"),
        (optim.Adam, "beta_1", "there are|did you mean beta"),
        (optim.RMSprop, "rho", "did you mean alpha"),
        (optim.SGD, "clipnorm", "did you mean clip_norm"),
        (optim.SGD, "verbose", "there are lr, momentum"),
    ],
)
def test_an_unknown_argument_names_the_right_one(cls, name, hint):
    with pytest.raises(TypeError, match=f"{cls.__name__} takes no argument {name!r}; .*({hint})"):
        cls(**{name: 0.5})


def test_an_optimiser_that_made_no_steps_takes_all():
    optimizer = optim.Adam()
    optimizer.amsgrad = True
    optimizer.initial_state = 0.5
    assert "v_max" in optimizer.slots
    sgd = optim.SGD(0.1)
    sgd.nesterov = True
    with pytest.raises(ValueError, match="nesterov needs a momentum"):
        make_model(sgd)


# -- layers --------------------------------------------------------------------------------------

LAYERS = {
    "Linear": (2, 2), "Dropout": (0.5,), "Sequential": (nn.ReLU(),), "Conv": (2, 4, 3),
    "ConvTranspose": (2, 4, 3), "MaxPool": (2,), "AvgPool": (2,), "LPPool": (2.0, 2),
    "AdaptiveAvgPool": (3,), "AdaptiveMaxPool": (3,), "BatchNorm": (2,),
    "InstanceNorm": (2, 1e-5, 0.1, True, True), "GroupNorm": (1, 2), "LayerNorm": (2,),
    "RMSNorm": (2,), "RNN": (2, 3, 2), "GRU": (2, 3), "LSTM": (2, 3), "RNNCell": (2, 3),
    "GRUCell": (2, 3), "LSTMCell": (2, 3), "ConvLSTM": (2, 3, 3), "LRU": (2, 3),
    "Lambda": (gx.tanh,), "Add": (gx.tanh, gx.exp),
    "Concat": (gx.tanh, gx.exp),
    "Embedding": (5, 3), "EmbeddingBag": (5, 3), "Fold": ((3, 4), 2), "Unfold": (2,),
    "LocalResponseNorm": (3, 0.5), "PixelShuffle": (2,), "PixelUnshuffle": (2,),
    "Upsample": (None, 2.0, "bilinear"),
    "Bilinear": (2, 2, 3), "ChannelShuffle": (2,), "CosineSimilarity": (), "PairwiseDistance": (),
    "MaxUnpool": (2,), "UpsamplingBilinear": (None, 2.0), "UpsamplingNearest": (None, 2.0),
    "ConstantPad": (1, 0.5),
    **{f"{kind}Pad": (1,) for kind in ("Circular", "Reflection", "Replication", "Zero")},
    "MultiheadAttention": (2, 1), "LearnedPositions": (4, 2), "SinusoidalPositions": (2, 4),
    "TransformerEncoderLayer": (2, 1, 3), "TransformerDecoderLayer": (2, 1, 3),
    "TransformerEncoder": (nn.TransformerEncoderLayer(2, 1, 3), 2, nn.LayerNorm(2)),
    "TransformerDecoder": (nn.TransformerDecoderLayer(2, 1, 3), 2, nn.LayerNorm(2)),
    "Transformer": (2, 1, 1, 1, 3),
    "Permute": (0, 1), "Reshape": (2, 1), "Unflatten": (1, (2, 1)), "Threshold": (0.5, 2.0),
}  # fmt: skip
"""Arguments by class, whatever number of axes its name ends in."""

SHAPES = {
    "EmbeddingBag": (3,), "Fold": (6, 8), "LocalResponseNorm": (4, 4, 6), "Unfold": (4, 4, 2),
    "RNN": (4, 2), "GRU": (4, 2), "LSTM": (4, 2), "LRU": (4, 2),
    "ConvLSTM": (4, 5, 5, 2), "PixelShuffle": (2, 3, 16),
    "PixelUnshuffle": (4, 4, 1), "Upsample": (3, 3, 2),
    "MultiheadAttention": (4, 2), "LearnedPositions": (4, 2), "SinusoidalPositions": (4, 2),
    "TransformerEncoderLayer": (4, 2), "TransformerDecoderLayer": (4, 2),
    "TransformerEncoder": (4, 2), "TransformerDecoder": (4, 2), "Transformer": (4, 2),
}  # fmt: skip
"""Of a sample, where it is not that of two channels."""


PAIRS = {
    "Bilinear": lambda x: x, "CosineSimilarity": lambda x: x[:, ::-1],
    "PairwiseDistance": lambda x: x[:, ::-1], "MaxUnpool": lambda x: gx.astype(x * 0.0, "int64"),
    **{f"Transformer{part}": lambda x: x for part in ("", "Decoder", "DecoderLayer")},
}  # fmt: skip
"""The second input of a layer of two, for the first."""


def every_layer():
    found = [c for c in classes(nn, nn.Layer) if not inspect.isabstract(c)]
    return [*found, nn.Sequential]


@pytest.mark.parametrize("cls", every_layer(), ids=lambda c: c.__name__)
def test_every_attribute_of_a_layer_takes_effect_or_raises(cls):
    def output(layer):
        """Return the layer's results and its new state."""
        outputs = [t for t in tree_leaves(layer(x, *second)) if t is not None]
        return gx.function([x], outputs + list(state_updates(outputs).values()))(values)

    kind, axes = re.fullmatch(r"(.*?)(?:(\d)d)?", cls.__name__).groups()
    shape = (32, *SHAPES.get(kind, (*[5] * int(axes or 0), 2)))
    dtype = "int64" if kind.startswith("Embedding") else "float32"
    x = gx.input("x", (None, *shape[1:]), dtype)
    second = [PAIRS[kind](x)] if kind in PAIRS else []
    values = 1.5 * np.linspace(-2, 2, math.prod(shape)).reshape(shape)
    values = (np.abs(values) % 5 if dtype == "int64" else values).astype(dtype)
    args = LAYERS.get(kind, ())
    for name in public_data(cls(*args)):
        called = cls(*args)
        before = output(called)
        with pytest.raises(SettingError, match=f"{cls.__name__}.{name} cannot be assigned"):
            setattr(called, name, other(getattr(called, name)))
        fresh = cls(*args)
        value = other(getattr(fresh, name))
        try:
            setattr(fresh, name, value)
        except SettingError:
            continue
        assert getattr(fresh, name) is value
        try:
            after = output(fresh)
        except (ValueError, TypeError, IndexError):
            continue  # it is looked at, and does not fit
        if len(before) == len(after):  # else there is more state
            pairs = zip(before, after, strict=True)
            assert not all(a.shape == b.shape and (a == b).all() for a, b in pairs), name


def test_a_layer_says_how_to_freeze_it():
    layer = nn.Linear(3, 1)
    assert layer.trainable
    with pytest.raises(SettingError, match=r"Linear\(\.\.\., trainable=False\).*gx\.Model"):
        layer.trainable = False


# -- models and what belongs to them ---------------------------------------------------------------


def test_every_attribute_of_a_model_takes_effect_or_raises():
    model = make_model()
    open_ones = {"stop_training", "epochs"}
    for name in public_data(model):
        if name not in open_ones:
            with pytest.raises(SettingError, match=f"Model.{name} cannot be assigned"):
                setattr(model, name, None)
    with pytest.raises(SettingError, match="optimizer cannot be deleted"):
        del model.optimizer
    with pytest.MonkeyPatch.context() as patch:  # methods may be replaced, and put back
        patch.setattr(model, "train_step", lambda X, Y: 7.0)
        assert model.train_step(X, Y) == 7.0
    assert model.train_step(X, Y) != 7.0
    orders = []
    for epochs in (0, 3):
        model.epochs = epochs
        orders.append(model._order(50, True).tolist())
    assert orders[0] != orders[1]

    class Stop(gx.callbacks.Callback):
        def on_epoch_end(self, model, epoch, logs):
            model.stop_training = True

    assert len(model.fit(X, Y, epochs=3, verbose=0, callbacks=[Stop()])["loss"]) == 1


def test_functions_graphs_reports_and_batches():
    model = make_model()
    f = gx.function(model.inputs, model.outputs)
    for thing in (f, model.graph, model.report):
        for name in public_data(thing):
            with pytest.raises(SettingError, match="cannot be assigned"):
                setattr(thing, name, None)
    batches = gx.data.batches(X, batch_size=3)
    with pytest.raises(SettingError, match="rows cannot be assigned"):
        batches.rows = 3
    batches.batch_size = 5
    assert [len(b) for b in batches] == [5, 3]
    batches.drop_last = True
    assert [len(b) for b in batches] == [5]
    assert set(public_data(batches)) == {"batch_size", "drop_last", "rows"}
    with pytest.raises(SettingError, match=r"gx\.config\(threads=2\)"):
        gx.config.threads = 2


def test_callbacks(tmp_path):
    """Those of EarlyStopping, as attributes assigned after it was made."""
    stopping = gx.callbacks.EarlyStopping("loss", min_delta=1e9)
    assert {"patience", "restore_best"} <= set(public_data(stopping))
    stopping.patience = 2
    model = make_model()
    assert len(model.fit(X, Y, epochs=9, verbose=0, callbacks=stopping)["loss"]) == 3
    stopping.restore_best, stopping.patience = True, 1
    first = model.fit(X, Y, epochs=1, verbose=0, callbacks=stopping)
    assert len(first["loss"]) == 1
    assert stopping._kept
    with pytest.raises(SettingError, match="best cannot be assigned"):
        stopping.best = 0.0
    saver = gx.callbacks.Checkpoint(tmp_path / "a")
    saver.path, saver.include_optimizer = str(tmp_path / "b"), True
    model.fit(X, Y, epochs=1, verbose=0, callbacks=saver)
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    assert b"state/" in (tmp_path / "b").read_bytes()


def test_every_attribute_of_every_callback_is_tried():
    """Either above, or refused; those that count what has been are none to set."""
    tried = {"patience", "restore_best", "path", "include_optimizer"}
    counts = {"waited", "best_epoch", "stopped_epoch"}
    makers = {"EarlyStopping": (), "Checkpoint": ("a",), "LearningRateScheduler": (float,),
              "TerminateOnNaN": (), "FunctionCallback": (print,)}  # fmt: skip
    for cls in classes(gx.callbacks, gx.callbacks.Callback):
        thing = cls(*makers[cls.__name__])
        for name in set(public_data(thing)) - tried - counts:
            if name in ("schedule", "function"):
                seen = []
                setattr(thing, name, lambda epoch, *rest, seen=seen: seen.append(epoch) or 0.5)
                make_model().fit(X, Y, verbose=0, callbacks=thing)
                assert seen == [0]
            else:
                with pytest.raises(SettingError, match="cannot be assigned"):
                    setattr(thing, name, None)


def test_an_option_in_the_environment_that_is_none_is_named():
    done = subprocess.run(
        [sys.executable, "-c", "import graphc"], capture_output=True, text=True, check=True,
        env={**os.environ, "GRAPHC_THREAD": "2"},
    )  # fmt: skip
    assert "GRAPHC_THREAD is no option of graphc; did you mean GRAPHC_THREADS?" in done.stderr


def in_environment(command, **variables):
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, env={**os.environ, **variables}
    )


WRONG_TEXTS = {
    "MACHINE": ["l2", "l2=2", "l4=1M", "l2=1M,l2=2M", "l2=-1K", "1M", "l1=0", "l1=0K", "l1=1K",
                "l1=2M", "l2=999999999M", "l9=9K", "L2 = 1M"],
    "THREADS": ["two", "-1", "1.5", "1025", "99999999999999999999", "1e3"],
    "CHECK": ["2", "yes", "-1"], "CALIBRATE": ["no", "10"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("option", "text"), [(name, text) for name, texts in WRONG_TEXTS.items() for text in texts]
)
def test_what_the_environment_cannot_set(option, text, monkeypatch):
    monkeypatch.setenv(f"GRAPHC_{option}", text)
    monkeypatch.setattr(config, "_current", config._from_environment())
    with pytest.raises(ArgumentError) as caught:
        options()
    assert str(caught.value).startswith(f"environment variable GRAPHC_{option}: option ")
    assert text.split(",")[-1] in str(caught.value)


def test_wrong_options_in_the_environment_are_one_line_at_the_command_line():
    done = in_environment(["-m", "graphc", "machine"], GRAPHC_MACHINE="l1=0K")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("graphc: environment variable GRAPHC_MACHINE: option machine: a cache")
    code = "import graphc as gx; x = gx.input('x', ()); gx.function(x, x)"
    done = in_environment(["-c", code], GRAPHC_CALIBRATE="2")
    assert "ArgumentError: environment variable GRAPHC_CALIBRATE: option" in done.stderr


def test_an_empty_variable_sets_nothing(monkeypatch):
    for name in config._CHECKS:
        monkeypatch.setenv(f"GRAPHC_{name.upper()}", "")
    assert config._from_environment() == Options()


WRONG = {
    "threads": [(2.0, TypeError), ("many", TypeError), (True, TypeError), (None, TypeError),
                (-1, ValueError), (1 << 40, ValueError)],
    "cache_dir": [(None, TypeError), (3, TypeError), (b"a", TypeError), (["a"], TypeError),
                  ("a\0", ValueError)],
    "dump": [(None, TypeError), (True, TypeError)],
    "check": [(2, ValueError), ("maybe", ValueError), (None, TypeError), ([], TypeError),
              (1.0, TypeError)],
    "calibrate": [(2, ValueError), (-1, ValueError), (0.5, TypeError)],
    "compiler": [("gcc", ValueError), ("", ValueError), (None, TypeError)],
    "disable_passes": [(None, TypeError), ([1], TypeError), (3, TypeError)],
    "machine": [("l1=32K", SettingError)],
    "thread": [(2, TypeError)],
}  # fmt: skip


def test_every_option_refuses_what_is_none_of_its_type():
    assert set(WRONG) - {"thread"} == set(config._CHECKS) == {f.name for f in fields(Options)}
    before = options()
    for name, values in WRONG.items():
        for value, kind in values:
            with pytest.raises(kind, match=r"(option|machine)(.|\n)*test_settings.py") as caught:
                gx.config(**{"check": True, "dump": "", name: value})
            assert isinstance(caught.value, GraphcError)
    assert options() == before


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"threads": np.int64(3)}, 3), ({"threads": "3"}, 3), ({"check": 1}, True),
        ({"check": np.False_}, False), ({"calibrate": "TRUE"}, True),
        ({"dump": Path("a")}, "a"), ({"disable_passes": {"fuse", "cse"}}, "cse,fuse"),
        ({"disable_passes": "fuse, cse"}, "fuse, cse"),
    ],
)  # fmt: skip
def test_what_options_take(given, taken):
    (name,) = given
    with gx.config(**given) as found:
        assert getattr(found, name) == taken
        assert type(getattr(found, name)) is type(taken)


def test_another_machine(monkeypatch):
    given = "l1=48K, L2=2m,l3=unknown"
    another = Options(machine=given)
    assert another.caches() == {1: 48 << 10, 2: 2 << 20, 3: 0}
    with monkeypatch.context() as changed:
        changed.setattr("graphc.machine.options", lambda: another)
        assert known.__wrapped__().caches == (48 << 10, 2 << 20, 0)
        assert known.__wrapped__().third == USUAL[2]
    with pytest.raises(SettingError, match="a process has one machine: set GRAPHC_MACHINE"):
        gx.config(machine=given)


def test_a_tensor_says_how_to_freeze_it():
    for name in ("trainable", "requires_grad"):
        with pytest.raises(AttributeError, match=r"gx\.Model\(\.\.\., trainable"):
            setattr(gx.parameter(1.0), name, False)


# -- names that are none ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "name", "hint"),
    [
        (lambda: nn.Linear(3, 1), "trainabel", "did you mean trainable"),
        (lambda: nn.Linear(3, 1), "requires_grad", "did you mean trainable"),
        (lambda: nn.Dropout(0.5), "rate", r"did you mean p\?"),
        (lambda: nn.ReLU(), "size", "it has parameters, scope, trainable"),
        (lambda: nn.Sequential(), "layer", "did you mean layers"),
        (optim.SGD, "learning_rate", r"did you mean lr\?"),
        (optim.Adam, "beta_1", "did you mean beta1"),
        (optim.Adam, "epsilon", "did you mean eps"),
        (optim.Adam, "weight_deacy", "did you mean weight_decay"),
        (optim.RMSprop, "rho", "did you mean alpha"),
        (make_model, "stop_trainig", "did you mean stop_training"),
        (make_model, "learning_rate", "it has"),
        (lambda: make_model().graph, "output", "did you mean outputs"),
        (lambda: make_model().history, "loss", r"history\['loss'\]"),
        (lambda: make_model().report, "flop", "did you mean flops"),
        (lambda: make_model().parameters, "weight", "it has"),
        (lambda: gx.data.batches(X), "seed", "it has"),
        (lambda: gx.callbacks.EarlyStopping(), "patients", "did you mean patience"),
        (lambda: gx.callbacks.Callback(), "on_batch_end", "did you mean on_progress"),
        (lambda: gx.callbacks.TerminateOnNaN(), "on_epoch_ends", "did you mean on_epoch_end"),
    ],
)
def test_an_unknown_attribute_names_the_right_one(make, name, hint):
    thing = make()
    for use in (lambda: setattr(thing, name, 0), lambda: getattr(thing, name)):
        with pytest.raises(AttributeError, match=hint) as error:
            use()
        assert "test_settings.py:" in str(error.value)
    assert not hasattr(thing, name)


@pytest.mark.parametrize("name", ["on_batch_end", "on_train_batch_end", "on_epoch_ends", "on_fit"])
def test_a_hook_that_is_none_is_an_error_when_the_class_is_made(name):
    with pytest.raises(SettingError, match=f"One.{name} is no hook.*on_epoch_end") as error:
        type("One", (gx.callbacks.Callback,), {name: lambda self, model: None})
    assert "test_settings.py:" in str(error.value)


def test_a_hook_with_other_arguments_is_an_error_when_the_class_is_made():
    with pytest.raises(TypeError, match=r"on_epoch_end must take \(self, model.*epoch.*logs"):

        class Keras(gx.callbacks.Callback):
            def on_epoch_end(self, epoch, logs=None):
                pass


def test_a_hook_put_on_an_object_counts():
    class Own(gx.callbacks.Callback):
        def __init__(self):
            self.seen = []
            self.on_epoch_begin = lambda model, epoch: self.seen.append(epoch)

    own = Own()
    own.on_epoch_end = lambda model, epoch, logs: own.seen.append(epoch)
    make_model().fit(X, Y, epochs=2, verbose=0, callbacks=own)
    assert own.seen == [0, 0, 1, 1]

    class Wrong(gx.callbacks.Callback):
        def __init__(self):
            self.on_batch_end = print

    with pytest.raises(SettingError, match="did you mean on_progress"):
        make_model().fit(X, Y, epochs=1, verbose=0, callbacks=Wrong())


def test_ones_own_classes_make_attributes_in_their_methods():
    class Block(nn.Layer):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)

        def forward(self, x):
            self.hidden = self.first(x)
            return gx.tanh(self.hidden)

    class Watch(gx.callbacks.Callback):
        def on_train_begin(self, model):
            self.losses = []

        def on_epoch_end(self, model, epoch, logs):
            self.losses.append(logs["loss"])

    block, watch = Block(), Watch()
    block.first = nn.Linear(3, 3)
    block(gx.input("x", (None, 3)))
    assert block.hidden.shape == (None, 3)
    with pytest.raises(SettingError, match="did you mean hidden"):
        block.hiden = None
    with pytest.raises(SettingError, match="make another Block"):
        block.first = nn.Linear(3, 3)
    make_model().fit(X, Y, epochs=2, verbose=0, callbacks=[watch])
    assert len(watch.losses) == 2


def test_sealed_objects_copy_and_pickle():
    for thing in (optim.Adam(0.5), gx.callbacks.EarlyStopping(), gx.data.batches(X)):
        for again in (copy.copy(thing), copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
            assert vars(again).keys() == vars(thing).keys()


def test_every_public_class_is_sealed_or_immutable():
    modules = (gx, nn, optim, gx.callbacks, gx.data)
    found = {v for m in modules for n, v in vars(m).items()
             if isinstance(v, type) and not n.startswith("_") and v.__module__.startswith("graphc")
             and not issubclass(v, Exception)}  # fmt: skip
    free = {c.__name__ for c in found if not issubclass(c, (Sealed, tuple))}
    assert free <= {"Tensor", "config", "Monitor"}
    with pytest.raises(AttributeError):
        gx.input("x", ()).name = "y"


def test_synonyms_are_names_that_exist():
    known = {n for c in Sealed.__subclasses__() for d in [c, *c.__subclasses__()] for n in dir(d)}
    known |= {"p", "slope", "start", "axis", "weight", "path", "save_best", "restore_best"}
    words = {word for text in SYNONYMS.values() for word in text.split()}
    everything = known | {n for c in classes(optim, Optimizer) for n in dir(c)}
    assert words <= everything | {"out_features"}
