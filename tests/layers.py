"""Layers beside PyTorch's: values and gradients of input and weights, and a step of training."""

from __future__ import annotations

import numpy as np

import graphc as gx

TOLERANCE = {"rtol": 1e-10, "atol": 1e-10}


def channels_last(a):
    """Return PyTorch's (N, C, *space) as (N, *space, C)."""
    return np.moveaxis(a, 1, -1) if a.ndim > 2 else a


def channels_first(a):
    return np.moveaxis(a, -1, 1) if a.ndim > 2 else a


def kernel_last(a):
    """Return a kernel (out, in, *window) as (*window, in, out)."""
    return np.moveaxis(a, (0, 1), (-1, -2))


def kernel_first(a):
    return np.moveaxis(a, (-1, -2), (0, 1))


def same(found, wanted, what):
    np.testing.assert_allclose(found, wanted, err_msg=what, **TOLERANCE)


def beside(
    layer, module, value, *, kernel=kernel_last, last=channels_last, first=None, batched=True
):
    """Compare a layer with a module of PyTorch in float64, at a NumPy array channels last.

    Parameters are copied from the module; ``kernel`` gives a weight of several axes its order here.
    """
    import torch

    first = first or {id(channels_last): channels_first}.get(id(last), lambda a: a)
    own = {n: layer_array(layer, n) for n in ("weight", "bias") if hasattr(layer, n)}
    for name, array in own.items():
        if array is not None:
            given = getattr(module, name).detach().numpy()
            array[...] = kernel(given) if given.ndim > 1 else given
    x = gx.input("x", (None, *value.shape[1:]) if batched else value.shape, dtype="float64")
    y = layer(x)
    loss = gx.sum(gx.sin(y) * 0.7 + y * y)
    wrt = [x, *(getattr(layer, name) for name, array in own.items() if array is not None)]
    found = gx.function(x, [y, *gx.grad(loss, wrt)])(value)

    t = torch.tensor(np.ascontiguousarray(first(value)), requires_grad=True)
    out = module(t)
    (out.sin() * 0.7 + out * out).sum().backward()
    wanted = [last(out.detach().numpy()), last(t.grad.numpy())]
    for name, array in own.items():
        if array is not None:
            gradient = getattr(module, name).grad.numpy()
            wanted.append(kernel(gradient) if gradient.ndim > 1 else gradient)
    for number, (a, b) in enumerate(zip(found, wanted, strict=True)):
        same(a, b, f"result {number} of {module}")


def layer_array(layer, name):
    """Return the values of a layer's parameter, or None if it has none of that name."""
    parameter = getattr(layer, name, None)
    return None if parameter is None else parameter.op.cell.array
