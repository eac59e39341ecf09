"""Structures of tensors: nested tuples, lists and dicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def tree_leaves(tree: Any) -> list[Any]:
    """Return the leaves of nested tuples, lists and dicts, in order."""
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in tree_leaves(part)]
    if isinstance(tree, dict):
        return [leaf for part in tree.values() for leaf in tree_leaves(part)]
    return [tree]


def tree_map(f: Callable[[Any], Any], tree: Any) -> Any:
    """Return ``tree`` with each leaf replaced by ``f(leaf)``."""
    if isinstance(tree, dict):
        return {key: tree_map(f, part) for key, part in tree.items()}
    if isinstance(tree, tuple) and type(tree) is not tuple:
        return type(tree)(*(tree_map(f, part) for part in tree))  # a named tuple
    if isinstance(tree, (tuple, list)):
        return type(tree)(tree_map(f, part) for part in tree)
    return f(tree)


def tree_fill(tree: Any, leaves: Iterator[Any]) -> Any:
    """Return ``tree`` with its leaves replaced, in order, by those of ``leaves``."""
    return tree_map(lambda _: next(leaves), tree)
