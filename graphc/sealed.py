"""Objects on which a misspelt attribute, or one that would do nothing, is an error.

Python makes an attribute of whatever is assigned: ``layer.trainabel = False`` succeeds, and the
layer trains on. Here a user's code can assign what an object has, where that takes effect; an
object's own methods, those of a user's class among them, may make attributes as they like.
"""

from __future__ import annotations

import sys
from types import FrameType
from typing import TYPE_CHECKING, Any

from graphc.errors import SettingError, is_internal, user_location
from graphc.synonyms import nearest

SYNONYMS = {
    "learning_rate": "lr", "rate": "lr p", "alpha": "lr_decay", "rho": "alpha",
    "beta": "betas momentum", "beta_1": "beta1", "beta_2": "beta2", "epsilon": "eps",
    "decay": "weight_decay", "l2": "weight_decay", "clipnorm": "clip_norm", "max_norm": "clip_norm",
    "global_clipnorm": "clip_norm", "clipvalue": "clip_value", "clip": "clip_norm",
    "requires_grad": "trainable", "frozen": "trainable", "kernel": "weight",
    "units": "out_features", "probability": "p", "negative_slope": "slope", "start_dim": "start",
    "dim": "axis", "weights": "parameters", "state_dict": "save",
    "on_batch_end": "on_progress", "on_batch_begin": "on_progress", "on_step_end": "on_progress",
    "on_train_batch_end": "on_progress", "on_train_batch_begin": "on_progress",
    "initial_accumulator_value": "initial_state",
    "save_best_only": "save_best", "filepath": "path", "restore_best_weights": "restore_best",
}  # fmt: skip
"""What other libraries call an attribute, and its name or names here."""


def close_name(name: str, known: list[str]) -> str | None:
    """Return the one of ``known`` that a user most likely meant by ``name``, or None."""
    for synonym in SYNONYMS.get(name.lower(), "").split():
        if synonym in known:
            return synonym
    return nearest(name.lower(), known)


class Sealed:
    """Refuses attributes that it does not have, and those that cannot be assigned."""

    __slots__ = ()

    def fixed(self, name: str) -> str | None:
        """Return why assigning the attribute would do nothing; None where it takes effect."""
        return None

    if not TYPE_CHECKING:  # type checkers know the attributes themselves

        def __setattr__(self, name: str, value: Any) -> None:
            if not _is_own(sys._getframe(1), self):
                what = f"{type(self).__name__}.{name}"
                if not self._has(name):
                    raise SettingError(f"{self._unknown(name)}\n  at {user_location()}")
                reason = self.fixed(name)
                declared = getattr(type(self), name, None)
                if reason is None and isinstance(declared, property) and declared.fset is None:
                    reason = "it follows from the others"
                if reason is not None and not callable(declared):
                    raise SettingError(
                        f"{what} cannot be assigned: {reason}\n  at {user_location()}"
                    )
            super().__setattr__(name, value)

        def __delattr__(self, name: str) -> None:
            if not _is_own(sys._getframe(1), self) and not hasattr(type(self), name):
                what = f"{type(self).__name__}.{name}"
                raise SettingError(f"{what} cannot be deleted\n  at {user_location()}")
            super().__delattr__(name)

        def __getattr__(self, name: str) -> Any:
            if hasattr(type(self), name):  # a property failed: let it say so itself
                return object.__getattribute__(self, name)
            if name.startswith("_"):
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            raise SettingError(f"{self._unknown(name)}\n  at {user_location()}")

    def _has(self, name: str) -> bool:
        return hasattr(type(self), name) or name in getattr(self, "__dict__", {})

    def _unknown(self, name: str) -> str:
        known = [n for n in dir(self) if not n.startswith("_") and n not in vars(Sealed)]
        meant = close_name(name, known)
        data = [n for n in known if not callable(getattr(type(self), n, None))]
        hint = f"did you mean {meant}?" if meant else f"it has {', '.join(data) or 'none'}"
        return f"{type(self).__name__} has no attribute {name!r}; {hint}"


def _is_own(frame: FrameType | None, owner: object) -> bool:
    """Tell whether an assignment is made by a method of ``owner``, or by graphc itself."""
    while frame is not None and frame.f_code.co_name in ("__setattr__", "__delattr__"):
        frame = frame.f_back
    if frame is None or is_internal(frame):
        return True
    code = frame.f_code
    if not code.co_argcount or frame.f_locals.get(code.co_varnames[0]) is not owner:
        return False
    within = code.co_qualname.rpartition(".")[0]
    return code.co_name == "__init__" or within in {c.__qualname__ for c in type(owner).__mro__}
