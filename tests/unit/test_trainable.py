"""What a model trains, and what it leaves alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphc as gx
from graphc import nn, optim

Z = np.random.default_rng(0).standard_normal((16, 3), dtype="float32")
REAL = np.random.default_rng(1).standard_normal((16, 2), dtype="float32") + 3

OPTIMIZERS = {
    "sgd": lambda: optim.SGD(0.1, momentum=0.9, weight_decay=0.1, clip_norm=1.0),
    "adam": lambda: optim.Adam(0.1, weight_decay=0.1, clip_value=0.5),
    "adamw": lambda: optim.AdamW(0.1, weight_decay=0.1),
    "rmsprop": lambda: optim.RMSprop(0.1, momentum=0.9, weight_decay=0.1),
    "adagrad": lambda: optim.Adagrad(0.1, weight_decay=0.1),
}


def net(*sizes, **options):
    layers = [nn.Linear(a, b, **options) for a, b in itertools.pairwise(sizes)]
    return nn.Sequential(*(part for layer in layers for part in (layer, nn.Tanh())))


def values(model):
    return {name: array.copy() for name, array in model.parameters.items()}


def moved(model, before):
    return {n for n, array in model.parameters.items() if (array != before[n]).any()}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_a_generator_leaves_its_discriminator_alone(make):
    z, real = gx.input("z", (None, 3)), gx.input("real", (None, 2))
    generator, discriminator = net(3, 4, 2), net(2, 4, 1)
    made = generator(z)
    fake, true = discriminator(made), discriminator(real)
    fool = nn.binary_cross_entropy_with_logits(fake, gx.ones_like(fake))
    tell = nn.binary_cross_entropy_with_logits(
        fake, gx.zeros_like(fake)
    ) + nn.binary_cross_entropy_with_logits(true, gx.ones_like(true))
    g = gx.Model(
        inputs=z, outputs=made, loss=fool, optimizer=make(), trainable=generator.parameters
    )
    d = gx.Model(
        inputs=[z, real], outputs=fake, loss=tell, optimizer=make(), trainable=[discriminator]
    )
    for _ in range(3):
        before, seen = values(g), values(d)
        g.train_step(Z)
        assert moved(g, before) == {f"linear_{i}.{n}" for i in (0, 1) for n in ("weight", "bias")}
        assert set(g.gradients(Z)) == moved(g, before)
        assert moved(d, seen) == moved(g, before), "the models share the generator"
        before = values(d)
        d.train_step([Z, REAL])
        assert moved(d, before) == {f"linear_{i}.{n}" for i in (2, 3) for n in ("weight", "bias")}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_what_no_gradient_reaches_stays_as_it_is(make):
    """Neither decay, nor momentum, nor clipping moves it, as where PyTorch's ``grad`` is None."""
    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 2))
    frozen, free = nn.Linear(3, 4), nn.Linear(4, 2)
    out = free(gx.stop_gradient(frozen(x)))
    model = gx.Model(inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y), optimizer=make())
    before = values(model)
    for _ in range(3):
        model.train_step(Z, REAL)
    assert moved(model, before) == {"linear_1.weight", "linear_1.bias"}
    gradients = model.gradients(Z, REAL)
    assert not gradients["linear_0.weight"].any()
    assert gradients["linear_1.weight"].any()
    assert not any("linear_0" in name for name in model.graph.keys.values() if "." in name[-9:]
                   and name.startswith(("sgd", "adam", "rms", "ada")))  # fmt: skip


def test_optimisers_skip_gradients_that_are_none():
    a, b = gx.parameter(np.ones(2), name="a"), gx.parameter(np.ones(2), name="b")
    loss = (a * a).sum() + gx.stop_gradient(b).sum()
    gradients = gx.grad(loss, {"a": a, "b": b}, unconnected="none")
    assert gradients["b"] is None
    updates = optim.Adam(weight_decay=0.1).updates([a, b], [gradients["a"], gradients["b"]])
    assert b not in updates
    assert not any(p.label.endswith(".b") for p in updates)
    assert optim.SGD(0.1).updates([b], [None]) == {}


@pytest.mark.parametrize("trainable", [True, False])
def test_a_layer_is_trained_unless_it_says_otherwise(trainable):
    class Scale(nn.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.factor = self.parameter("factor", np.ones(2))

        def forward(self, x):
            return x * self.factor

    x, y = gx.input("x", (None, 3)), gx.input("y", (None, 2))
    first, scale = nn.Linear(3, 2, trainable=trainable), Scale(trainable=trainable)
    assert (first.trainable, scale.trainable) == (trainable, trainable)
    assert bool(first.parameters) == bool(scale.parameters) == trainable
    out = nn.Linear(2, 2)(scale(first(x)))
    model = gx.Model(
        inputs=x, outputs=out, targets=y, loss=nn.mse_loss(out, y), optimizer=optim.AdamW(0.1)
    )
    before = values(model)
    model.fit(Z, REAL, batch_size=4, verbose=0)
    others = {"linear_0.weight", "linear_0.bias", "scale_0.factor"} if trainable else set()
    assert moved(model, before) == {"linear_1.weight", "linear_1.bias"} | others


def test_bad_arguments():
    x = gx.input("x", (None, 3))
    layer, frozen = nn.Linear(3, 1), nn.Linear(3, 1, trainable=False)
    loss = (layer(x) + frozen(x)).mean()

    def make(trainable, loss=loss):
        return gx.Model(inputs=x, outputs=layer(x), loss=loss, trainable=trainable)

    for trainable, kind, hint in [
        ([gx.parameter(1.0, name="w")], ValueError, "w: .*which the model does not use"),
        ([frozen.weight], ValueError, "linear_1.weight.*declared with trainable=False"),
        ([x], TypeError, "must be a list of parameters, or layers"),
        (["linear_0.weight"], TypeError, "must be a list of parameters, or layers"),
    ]:
        with pytest.raises(kind, match=hint) as error:
            make(trainable)
        assert "test_trainable.py:" in str(error.value)
    assert set(make(layer.weight).gradients(Z)) == {"linear_0.weight"}
    other = nn.Linear(3, 1)
    loss = loss + gx.stop_gradient(other(x)).mean()
    with pytest.raises(ValueError, match="nothing to do"):
        gx.Model(inputs=x, outputs=loss, loss=loss, trainable=[], optimizer=optim.SGD(0.1))
