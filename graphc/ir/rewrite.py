"""Rewriting by rules: small functions that know one equality each.

A rule takes a node and returns an equal tensor of the same type, or None where it does not
apply. Python's ``match`` is the pattern language::

    @RULES.on(Negative)
    def double_negation(node: Tensor) -> Tensor | None:
        \"\"\"``-(-x) = x``.\"\"\"
        match node.inputs:
            case (Tensor(op=Negative(), inputs=(x,)),):
                return x
        return None
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from graphc.errors import VerificationError
from graphc.ir.op import Op
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor

Rewrite: TypeAlias = Callable[[Tensor], Tensor | None]


@dataclass(frozen=True)
class Rule:
    """An equality: its name, its formula (the docstring's first line) and how to apply it."""

    name: str
    formula: str
    rewrite: Rewrite


class _ByClass(dict[type[Op], tuple[Rule, ...]]):
    """The rules that look at ops of a class, those of its traits last, found when asked for."""

    def __init__(self, rules: Mapping[type[Op], Sequence[Rule]]) -> None:
        super().__init__()
        self._rules = rules

    def __missing__(self, kind: type[Op]) -> tuple[Rule, ...]:
        found = tuple(rule for base in kind.__mro__ for rule in self._rules.get(base, ()))
        self[kind] = found
        return found


class RuleSet:
    """Rules by the class of op, or the trait, that they look at; at first those of ``parts``."""

    def __init__(self, *parts: RuleSet) -> None:
        self._rules: dict[type[Op], list[Rule]] = {}
        for part in parts:
            for kind, rules in part._rules.items():
                self._rules.setdefault(kind, []).extend(rules)
        self.of = _ByClass(self._rules)

    def on(self, *kinds: type[Any]) -> Callable[[Rewrite], Rewrite]:
        """Enter a function as a rule for nodes whose op is of one of ``kinds``."""

        def enter(rewrite: Rewrite) -> Rewrite:
            formula = (rewrite.__doc__ or "").partition("\n")[0].rstrip(".")
            rule = Rule(rewrite.__name__, formula, rewrite)
            for kind in kinds:
                self._rules.setdefault(kind, []).append(rule)
            self.of.clear()
            return rewrite

        return enter

    def all(self) -> tuple[Rule, ...]:
        """Return every rule, once."""
        return tuple(dict.fromkeys(rule for rules in self._rules.values() for rule in rules))

    def apply(self, node: Tensor) -> tuple[Tensor, str] | None:
        """Return what the first rule that applies makes of ``node``, and the rule's name."""
        for rule in self.of[type(node.op)]:
            result = rule.rewrite(node)
            if result is None or result is node:
                continue
            if result.type != node.type:
                raise VerificationError(
                    f"rule {rule.name} turned {node.describe()} into {result.describe()}"
                )
            return result, rule.name
        return None


def scalar_value(t: Tensor) -> bool | int | float | None:
    """Return the number that ``t`` is, if it is a constant of one element."""
    if not isinstance(t.op, Constant) or t.op.value.array.size != 1:
        return None
    value: bool | int | float = t.op.value.array.item()
    return value


def is_number(t: Tensor, number: float) -> bool:
    """Tell whether ``t`` is a constant of one element, equal to ``number``."""
    return scalar_value(t) == number
