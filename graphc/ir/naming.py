"""Names of parameters and layers, numbered within one graph.

A layer does not know its number when it is made: a process may build many models, and each of
them starts at ``linear_0``. So an unnamed layer marks what it makes with a scope of its own,
``"linear#41"``, and every graph numbers the scopes it meets. A layer or scope that the user
named keeps that name.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable

from graphc.ir.tensor import Tensor

_serial = itertools.count()


def layer_scope(kind: str) -> str:
    """Return a scope unlike all others, shown as ``kind_0``, ``kind_1``, ... in a graph."""
    return f"{kind}#{next(_serial)}"


def scope_names(nodes: Iterable[Tensor]) -> dict[str, str]:
    """Return what each scope of ``nodes`` is called, numbered per kind as they first appear.

    Those inside another are numbered by themselves.
    """
    above: dict[str, tuple[str, ...]] = {}
    for node in nodes:
        for depth, part in enumerate(node.scope):
            above.setdefault(part, node.scope[:depth])
    result = {scope: scope for scope in above if "#" not in scope}
    taken = {(above[scope], scope) for scope in result}
    numbers: Counter[tuple[tuple[str, ...], str]] = Counter()
    for scope, outer in above.items():
        if scope in result:
            continue
        kind = scope.partition("#")[0]
        while (outer, f"{kind}_{numbers[outer, kind]}") in taken:
            numbers[outer, kind] += 1
        result[scope] = f"{kind}_{numbers[outer, kind]}"
        taken.add((outer, result[scope]))
    return result


def unique(base: str, taken: set[str], *, numbered: bool = False) -> str:
    """Return ``base``, or ``base_n`` with the first free n, and enter it into ``taken``.

    With ``numbered`` even the first one gets its number: ``base_0``.
    """
    name = f"{base}_0" if numbered else base
    number = itertools.count(1)
    while name in taken:
        name = f"{base}_{next(number)}"
    taken.add(name)
    return name


def parameter_names(parameters: Iterable[Tensor]) -> dict[Tensor, str]:
    """Return a unique name for each parameter: ``linear_0.weight``, ``encoder.bias``, ``W1``.

    Pass all parameters of a model, in creation order, to get the names that its graph gives.
    Scopes come first, then the label; a parameter without one is ``parameter_0``; a second
    of the same name gets a suffix: ``W1_1``.
    """
    parameters = list(parameters)
    scopes = scope_names(parameters)
    taken: set[str] = set()
    result = {}
    for parameter in parameters:
        path = [scopes[part] for part in parameter.scope]
        base = ".".join([*path, parameter.label or "parameter"])
        result[parameter] = unique(base, taken, numbered=parameter.label is None)
    return result
