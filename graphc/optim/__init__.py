"""Optimisers as symbolic updates, clipping, and learning rate schedules."""

from graphc.optim import schedules
from graphc.optim.adagrad import Adagrad
from graphc.optim.adam import Adam, AdamW
from graphc.optim.clip import clip_by_global_norm, clip_by_value, global_norm
from graphc.optim.optimizer import Optimizer
from graphc.optim.rmsprop import RMSprop
from graphc.optim.sgd import SGD
from graphc.synonyms import advice

__all__ = [
    "SGD",
    "Adagrad",
    "Adam",
    "AdamW",
    "Optimizer",
    "RMSprop",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
    "schedules",
]


def __getattr__(name: str) -> object:
    said = "" if name.startswith("_") else advice(name, [f"optim.{n}" for n in __all__])
    raise AttributeError(f"graphc.optim has no {name!r}{said}")
