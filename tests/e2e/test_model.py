"""A model as a user meets it: declare, fit, evaluate, predict, look, save, load."""

import ast
import signal
import threading
import time

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

rng = np.random.default_rng(0)
X = rng.standard_normal((203, 5)).astype("float32")
A = rng.standard_normal((5, 3)).astype("float32")
Y = X @ A
LABELS = (X[:, 0] > 0).astype("int64")


def regression(optimizer=None, seed=0, dtype="float32", **options):
    x, y = gx.input("x", (None, 5), dtype), gx.input("y", (None, 3), dtype)
    out = nn.Linear(5, 3, dtype=dtype)(x)
    return gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y), seed=seed,
                    optimizer=optimizer or optim.SGD(0.1, momentum=0.9), **options)  # fmt: skip


def classifier(optimizer=None, seed=0, dropout=0.0):
    x, y = gx.input("x", (None, 5)), gx.input("y", (None,), "int64")
    logits = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 2))(x)
    return gx.Model(
        inputs=x, outputs=logits, targets=y, loss=nn.cross_entropy(logits, y), seed=seed,
        metrics={"accuracy": nn.accuracy(logits, y)}, optimizer=optimizer or optim.Adam(0.01),
    )  # fmt: skip


def values(model):
    return {name: view.copy() for name, view in model.parameters.items()}


def assert_same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


# -- fit ---------------------------------------------------------------------------------------


def test_fit_learns_and_keeps_a_history():
    model = classifier()
    history = model.fit(X[:150], LABELS[:150], epochs=30, batch_size=16, verbose=0,
                        validation_data=(X[150:], LABELS[150:]))  # fmt: skip
    assert list(history) == ["loss", "accuracy", "val_loss", "val_accuracy"]
    assert all(len(column) == 30 for column in history.values())
    assert all(type(value) is float for value in history["loss"])
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    scores = model.evaluate(X[150:], LABELS[150:])
    assert scores == {"loss": history["val_loss"][-1], "accuracy": history["val_accuracy"][-1]}
    assert scores["accuracy"] > 0.85
    assert model.history is history
    assert model.epochs == 30


def test_fit_equals_a_loop_over_its_batches():
    fitted, looped = regression(), regression()
    history = fitted.fit(X, Y, epochs=2, batch_size=64, shuffle=False, verbose=0)
    for epoch in range(2):
        batches = gx.data.batches(X, Y, batch_size=64)
        losses = [(looped.train_step(xb, yb), len(xb)) for xb, yb in batches]
        mean = sum(loss * n for loss, n in losses) / len(X)
        np.testing.assert_allclose(history["loss"][epoch], mean, rtol=1e-6)
    assert losses[-1][1] == 203 - 3 * 64
    assert_same(values(fitted), values(looped))


def test_the_seed_decides_initial_values_and_order():
    def train(seed):
        model = classifier(seed=seed, dropout=0.3)
        model.fit(X, LABELS, epochs=3, batch_size=32, verbose=0)
        return values(model)

    assert_same(train(0), train(0))
    assert not np.array_equal(train(0)["linear_0.weight"], train(1)["linear_0.weight"])


def test_two_fits_equal_one():
    once, twice = classifier(), classifier()
    once.fit(X, LABELS, epochs=4, verbose=0)
    twice.fit(X, LABELS, epochs=1, verbose=0)
    history = twice.fit(X, LABELS, epochs=4, initial_epoch=1, verbose=0)
    assert len(history["loss"]) == 3
    assert_same(values(once), values(twice))


def test_batches_larger_than_the_data():
    model = regression()
    assert len(model.fit(X, Y, batch_size=1000, verbose=0)["loss"]) == 1
    assert model.fit(X, Y, epochs=0, verbose=0) == {}


@pytest.mark.parametrize(
    "view",
    [lambda a: a.astype("float64"), lambda a: a.tolist(), np.asfortranarray,
     lambda a: np.repeat(a, 2, axis=0)[::2], lambda a: a.astype(">f4")],
)  # fmt: skip
def test_data_are_anything_that_numpy_can_view(view):
    plain, viewed = regression(), regression()
    plain.fit(X[:40], Y[:40], verbose=0)
    viewed.fit(view(X[:40]), view(Y[:40]), verbose=0)
    assert_same(values(plain), values(viewed))


def test_memory_mapped_and_narrow_data(tmp_path):
    np.save(tmp_path / "x.npy", (abs(X) * 50).astype("uint8"))
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    model = regression()
    model.fit(mapped, Y.astype("float16"), verbose=0)
    assert model.predict(mapped).shape == (203, 3)


def test_validation_split_takes_the_last_rows():
    split, given = regression(), regression()
    one = split.fit(X, Y, validation_split=0.25, epochs=2, verbose=0)
    two = given.fit(X[:153], Y[:153], validation_data=(X[153:], Y[153:]), epochs=2, verbose=0)
    assert one == two


def test_progress_is_shown_as_asked(capsys):
    model = classifier()
    model.fit(X, LABELS, epochs=2, verbose=0)
    assert capsys.readouterr() == ("", "")
    model.fit(X, LABELS, epochs=2, verbose=1, validation_split=0.2)
    shown = capsys.readouterr().err
    for word in ("epoch 2/2", "loss=", "accuracy=", "val_accuracy=", "samples/s"):
        assert word in shown
    model.fit(X, LABELS, epochs=2, verbose=2)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[1].startswith("epoch 2/2  loss=")


# -- steering a fit ------------------------------------------------------------------------------


def test_events_come_in_order():
    seen = []

    class Record(gx.callbacks.Callback):
        def on_train_begin(self, model):
            seen.append("begin")

        def on_epoch_begin(self, model, epoch):
            seen.append(f"epoch {epoch}")

        def on_progress(self, model, epoch, samples, logs):
            assert 0 < samples <= 203
            assert logs.keys() == {"loss", "accuracy"}
            seen.append(samples)

        def on_epoch_end(self, model, epoch, logs):
            seen.append(f"end {epoch}")

        def on_train_end(self, model):
            seen.append("end")

    calls = []
    callbacks = [Record(), lambda epoch, logs: calls.append((epoch, logs))]
    classifier().fit(X, LABELS, epochs=2, verbose=0, callbacks=callbacks)
    assert [e for e in seen if isinstance(e, str)] == [
        "begin", "epoch 0", "end 0", "epoch 1", "end 1", "end"
    ]  # fmt: skip
    assert seen.count(203) == 2  # the last report of an epoch is of all rows
    assert [epoch for epoch, _ in calls] == [0, 1]
    assert "accuracy" in calls[0][1]


def test_early_stopping_restores_the_best_epoch():
    model = regression(optim.SGD(0.1))
    best = {}

    def spoil(epoch, logs):
        if epoch == 2:
            best.update(values(model))
            model.optimizer.lr = 5.0  # from here on it diverges

    stop = gx.callbacks.EarlyStopping("loss", patience=2, restore_best=True)
    history = model.fit(X, Y, epochs=50, verbose=0, callbacks=[spoil, stop])
    assert stop.best_epoch == 2
    assert len(history["loss"]) == 5
    assert_same(values(model), best)


def test_checkpoints_hold_the_epoch_they_name(tmp_path):
    kept = []
    model = regression()
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[
        gx.callbacks.Checkpoint(tmp_path / "{epoch}.safetensors"),
        lambda epoch, logs: kept.append(values(model)),
    ])  # fmt: skip
    other = regression(seed=1)
    for epoch in range(2):
        other.load(tmp_path / f"{epoch + 1}.safetensors")
        assert_same(values(other), kept[epoch])


def test_the_learning_rate_changes_without_compiling():
    model = regression(optim.SGD(0.1))
    model.fit(X, Y, verbose=0)
    before, misses = values(model), model.report.cache_misses
    rate = gx.callbacks.LearningRateScheduler(lambda epoch: 0.0)
    model.fit(X, Y, verbose=0, callbacks=rate)
    assert_same(values(model), before)
    assert model.optimizer.lr == 0.0
    assert model.report.cache_misses == misses


class Interrupt(gx.callbacks.Callback):
    def on_progress(self, model, epoch, samples, logs):
        if epoch == 2:
            raise KeyboardInterrupt


def test_an_interrupted_fit_leaves_a_finished_step_and_the_history():
    model = regression()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y, epochs=10, batch_size=16, verbose=0, callbacks=[Interrupt()])
    assert len(model.history["loss"]) == 2
    assert model.epochs == 2
    assert all(np.isfinite(view).all() for view in model.parameters.values())
    assert model.fit(X, Y, epochs=20, verbose=0)["loss"][-1] < 1e-3


def test_ctrl_c_is_heard_within_an_epoch():
    model = regression()
    many = np.ones((3_000_000, 5), "float32"), np.ones((3_000_000, 3), "float32")
    model.train_step(X[:1], Y[:1])
    timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    start = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        model.fit(*many, epochs=1000, batch_size=1, shuffle=False, verbose=0)
    assert time.perf_counter() - start < 5.0
    timer.join()
    assert model.predict(X).shape == (203, 3)


def test_a_loss_that_is_not_a_number_is_not_silent():
    with pytest.warns(RuntimeWarning, match="the loss is (nan|inf) in epoch 1; lower the learn"):
        regression(optim.SGD(1e30)).fit(X, Y, verbose=0, epochs=1, batch_size=8)
    model = regression(optim.SGD(1e30))
    stop = gx.callbacks.TerminateOnNaN()
    assert len(model.fit(X, Y, epochs=9, verbose=0, batch_size=8, callbacks=stop)["loss"]) == 1


# -- one batch -----------------------------------------------------------------------------------


def test_train_step_returns_the_loss_before_it():
    model = regression()
    loss = model.evaluate(X[:8], Y[:8])["loss"]
    step = model.train_step(X[:8], Y[:8])
    assert type(step) is float
    np.testing.assert_allclose(step, loss, rtol=1e-6)
    assert model.evaluate(X[:8], Y[:8])["loss"] < loss


def test_forward_returns_outputs_loss_and_metrics_and_changes_nothing():
    model = classifier(dropout=0.5)
    before = values(model)
    one, two = model.forward(X, LABELS), model.forward(X, LABELS)
    assert one.keys() == {"outputs", "loss", "accuracy"}
    assert one["outputs"].shape == (203, 2)
    np.testing.assert_array_equal(one["outputs"], two["outputs"])  # one mask, until a step
    assert not np.allclose(one["outputs"], model.predict(X))  # which has no mask at all
    np.testing.assert_allclose(one["loss"], model.train_step(X, LABELS), rtol=1e-6)
    assert not np.allclose(one["outputs"], model.forward(X, LABELS)["outputs"])
    assert not np.array_equal(before["linear_0.weight"], model.parameters["linear_0.weight"])


def test_gradients_are_those_of_the_loss():
    model = regression(dtype="float64")
    x, y = X[:16].astype("float64"), Y[:16].astype("float64")
    grads = model.gradients(x, y)
    error = 2.0 * (model.predict(x) - y) / y.size
    np.testing.assert_allclose(grads["linear_0.weight"], x.T @ error, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(grads["linear_0.bias"], error.sum(0), rtol=1e-12, atol=1e-15)
    kept = {name: grad.copy() for name, grad in grads.items()}
    model.train_step(x, y)
    assert_same(grads, kept)


# -- inference -----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 50, 203, 1024])
def test_evaluate_and_predict_do_not_depend_on_the_batches(size):
    model = classifier(dropout=0.4)
    whole, scores = model.predict(X), model.evaluate(X, LABELS)
    np.testing.assert_allclose(model.predict(X, batch_size=size), whole, rtol=2e-6, atol=1e-6)
    for name, value in model.evaluate(X, LABELS, batch_size=size).items():
        np.testing.assert_allclose(value, scores[name], rtol=1e-5)
    np.testing.assert_allclose(scores["accuracy"], (whole.argmax(1) == LABELS).mean(), rtol=1e-6)


def test_predict_of_no_rows_and_of_one():
    model = regression()
    assert model.predict(X[:0]).shape == (0, 3)
    assert model.predict(X[:0]).dtype == np.float32
    np.testing.assert_allclose(model.predict(X[:1]), model.predict(X)[:1], rtol=1e-6)


def test_outputs_without_a_batch_axis_see_all_rows():
    x = gx.input("x", (None, 5))
    out = {"rows": x * 2.0, "mean": gx.mean(x, axis=0)}
    model = gx.Model(inputs=x, outputs=out, loss=gx.mean(x))
    found = model.predict(X, batch_size=10)
    assert found["rows"].shape == X.shape
    np.testing.assert_allclose(found["mean"], X.mean(0), rtol=1e-5, atol=1e-6)


def test_inputs_without_a_batch_axis():
    a = gx.input("a", (3,))
    w = gx.parameter([1.0, 2.0, 3.0], name="w")
    loss = gx.sum((w - a) ** 2)
    model = gx.Model(inputs=a, outputs=w * a, loss=loss, optimizer=optim.SGD(0.5))
    assert model.train_step([1.0, 1.0, 1.0]) == 5.0
    assert model.parameters["w"].tolist() == [1.0, 1.0, 1.0]
    assert model.predict([1.0, 2.0, 3.0]).tolist() == [1.0, 2.0, 3.0]
    assert model.evaluate([1.0, 1.0, 2.0]) == {"loss": 1.0}
    with pytest.raises(ValueError, match=r"input 'a' has the fixed shape \(3,\)"):
        model.fit(np.ones((4, 3)))
    for shape in (("N", 3), (1, "N")):
        b = gx.input("b", shape)
        model = gx.Model(
            inputs=b, outputs=w[0] * b, loss=gx.sum(w) * gx.sum(b), optimizer=optim.SGD(0.5)
        )
        with pytest.raises(ValueError, match=r"'b' has the shape \(.*, which does not begin with"):
            model.fit(np.ones((1, 3)))


# -- several inputs and targets --------------------------------------------------------------------


def test_dicts_of_inputs_targets_and_outputs():
    a, b = gx.input("a", (None, 5)), gx.input("b", (None, 1))
    p, q = gx.input("p", (None, 3)), gx.input("q", (None, 1))
    first, second = nn.Linear(5, 3)(a), nn.Linear(1, 1)(b)
    loss = nn.mse_loss(first, p) + nn.mse_loss(second, q)
    model = gx.Model(
        inputs={"left": a, "right": b}, outputs={"one": first, "two": second},
        targets=[p, q], loss=loss, metrics={"second": nn.mse_loss(second, q)},
        optimizer=optim.SGD(0.1, momentum=0.9),
    )  # fmt: skip
    data, targets = {"right": X[:, :1], "left": X}, (Y, 3 * X[:, :1] + 1)
    history = model.fit(data, targets, epochs=60, verbose=0,
                        validation_data=(data, list(targets)))  # fmt: skip
    assert history["val_second"][-1] < 1e-3
    assert history["loss"][-1] < 1e-3
    found = model.predict(data)
    assert list(found) == ["one", "two"]
    assert found["one"].shape == (203, 3)
    np.testing.assert_allclose(found["two"], targets[1], atol=0.1)
    for xb, yb in gx.data.batches(data, targets, batch_size=100):
        model.train_step(xb, yb)
    assert set(model.evaluate(data, targets)) == {"loss", "second"}
    with pytest.raises(ValueError, match="missing 'left'; unknown 'x'"):
        model.predict({"x": X, "right": X[:, :1]})


def test_a_loss_without_targets():
    x = gx.input("x", (None, 5))
    code = nn.Linear(5, 2)(x)
    back = nn.Linear(2, 5)(code)
    model = gx.Model(inputs=x, outputs=(code, back), loss=nn.mse_loss(back, x),
                     optimizer=optim.Adam(0.01))  # fmt: skip
    history = model.fit(X, epochs=3, validation_data=(X,), verbose=0)
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert [a.shape for a in model.predict(X)] == [(203, 2), (203, 5)]
    with pytest.raises(ValueError, match="no targets; leave them out"):
        model.train_step(X, Y)


def test_shared_and_frozen_parameters():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None, 5))
    layer = nn.Linear(5, 5)
    scale = gx.parameter(np.full(5, 0.5, "float32"), name="scale", trainable=False)
    out = layer(layer(x)) * scale
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                     optimizer=optim.SGD(0.1))  # fmt: skip
    model.fit(X, X, epochs=2, verbose=0)
    assert set(model.parameters) == {"linear_0.weight", "linear_0.bias", "scale"}
    assert set(model.gradients(X, X)) == {"linear_0.weight", "linear_0.bias"}
    assert (model.parameters["scale"] == 0.5).all()


def test_a_model_without_an_optimizer_predicts():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None, 3))
    out = nn.Linear(5, 3)(x)
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y))
    assert model.predict(X).shape == (203, 3)
    assert model.gradients(X, Y)["linear_0.weight"].shape == (5, 3)
    for train in (lambda: model.train_step(X, Y), lambda: model.fit(X, Y)):
        with pytest.raises(ValueError, match=r"the model has no optimizer; .*optim.Adam"):
            train()


# -- parameters and files --------------------------------------------------------------------------


def test_parameters_can_be_set():
    model = regression()
    model.parameters["linear_0.weight"][...] = A
    model.parameters["linear_0.bias"][...] = 0
    np.testing.assert_allclose(model.predict(X), Y, rtol=1e-5, atol=1e-5)
    with pytest.raises(TypeError, match=r"\[\.\.\.\] = value"):
        model.parameters["linear_0.bias"] = 0


def test_saved_parameters_predict_the_same(tmp_path):
    model = classifier(dropout=0.2)
    model.fit(X, LABELS, verbose=0)
    model.save(tmp_path / "m.safetensors")
    other = classifier(seed=7)
    other.load(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    with pytest.raises(ValueError, match=r"does not fit the model(.|\n)*unknown: linear_1.weight"):
        regression().load(tmp_path / "m.safetensors")


def test_training_goes_on_from_a_file_bit_for_bit(tmp_path):
    whole, half = classifier(dropout=0.3), classifier(dropout=0.3)
    whole.fit(X, LABELS, epochs=4, verbose=0)
    half.fit(X, LABELS, epochs=2, verbose=0)
    half.save(tmp_path / "half.safetensors", include_optimizer=True)
    for options in ({}, {"include_optimizer": True}):  # what a file has is restored
        resumed = classifier(dropout=0.3, seed=0)
        resumed.load(tmp_path / "half.safetensors", **options)
        assert resumed.epochs == 2
        resumed.fit(X, LABELS, epochs=4, initial_epoch=2, verbose=0)
        assert_same(values(whole), values(resumed))
    fresh = classifier(dropout=0.3, seed=0)
    fresh.load(tmp_path / "half.safetensors", include_optimizer=False)
    assert fresh.epochs == 0
    half.save(tmp_path / "plain.safetensors")
    fresh.load(tmp_path / "plain.safetensors")
    with pytest.raises(ValueError, match="missing: state/"):
        fresh.load(tmp_path / "plain.safetensors", include_optimizer=True)


def test_parameters_are_ready_before_anything_is_compiled(tmp_path):
    def network():
        x = gx.input("x", (None, 5))
        out = nn.Linear(5, 3)(x)
        return gx.Model(inputs=x, outputs=out, loss=gx.mean(out), seed=4)

    model, other = network(), network()
    other.parameters["linear_0.weight"][...] = 1.0
    model.save(tmp_path / "m")
    other.load(tmp_path / "m")
    np.testing.assert_array_equal(model.predict(X), other.predict(X))
    np.testing.assert_array_equal(model.predict(X), network().predict(X))


def test_two_models_train_one_layer():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None, 3))
    shared = nn.Linear(5, 3)
    once, twice = shared(x), shared(x) + nn.Linear(5, 3)(x)
    first, second = (
        gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y),
                 optimizer=optim.SGD(0.1))
        for out in (once, twice)
    )  # fmt: skip
    first.train_step(X, Y)
    before, grads = values(second), second.gradients(X, Y)
    second.train_step(X, Y)
    for name, value in second.parameters.items():
        np.testing.assert_allclose(value, before[name] - 0.1 * grads[name], rtol=1e-5, atol=1e-7)
    assert np.shares_memory(
        first.parameters["linear_0.weight"], second.parameters["linear_0.weight"]
    )


def test_models_share_layers():
    x, y = gx.input("x", (None, 5)), gx.input("y", (None, 3))
    layer = nn.Linear(5, 3)
    first = gx.Model(inputs=x, outputs=layer(x), targets=y, loss=nn.mse_loss(layer(x), y),
                     optimizer=optim.SGD(0.1))  # fmt: skip
    first.fit(X, Y, verbose=0)
    second = gx.Model(inputs=x, outputs=layer(x) * 2.0, loss=gx.mean(layer(x)), seed=5)
    np.testing.assert_allclose(second.predict(X), 2.0 * first.predict(X), rtol=1e-6)


# -- looking inside --------------------------------------------------------------------------------


def test_the_generated_module_and_the_report():
    model = regression()
    assert {"forward", "backward", "update"} <= {node.phase for node in model.graph}
    tree = ast.parse(model.source)
    functions = {n.name for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
    assert {"forward", "backward", "train_step", "train_epoch"} <= functions
    assert model.source_path.read_text() == model.source
    assert len(model.optimized_graph) <= len(model.graph) + len(model.parameters)
    assert model.report.parameter_bytes >= 4 * (15 + 3)
    model.predict(X)
    misses = model.report.cache_misses
    for size in (1, 2, 31, 64, 203):
        model.train_step(X[:size], Y[:size])
        assert model.predict(X[:size]).shape == (size, 3)
    assert model.report.cache_misses == misses


@pytest.mark.parametrize("rows", [0, 1, 5, 9])
@pytest.mark.parametrize("length", [1, 3, 9])
def test_predict_knows_sizes_with_names(rows, length):
    x = gx.input("x", (None, "len", 3))
    y = nn.Linear(3, 4)(x)
    model = gx.Model(inputs=x, outputs=y, loss=gx.mean(y * y), optimizer=optim.SGD(0.1), seed=0)
    value = np.random.default_rng(0).standard_normal((rows, length, 3)).astype("float32")
    w, b = (model.parameters[f"linear_0.{name}"] for name in ("weight", "bias"))
    found = model.predict(value, batch_size=2)
    assert found.shape == (rows, length, 4)
    np.testing.assert_allclose(found, value @ w + b, rtol=1e-5, atol=1e-6)


def test_predict_of_rows_against_rows_takes_all_at_once():
    x = gx.input("x", (None, 3))
    w = gx.parameter(np.eye(3, dtype="float32"))
    model = gx.Model(inputs=x, outputs=(x @ w) @ x.T, loss=gx.mean(x @ w), optimizer=optim.SGD(0.1))
    value = np.random.default_rng(0).standard_normal((7, 3)).astype("float32")
    np.testing.assert_allclose(
        model.predict(value, batch_size=3), value @ value.T, rtol=1e-5, atol=1e-6
    )
