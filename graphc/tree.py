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


def tree_aligned(tree: Any, like: Any) -> list[Any] | None:
    """Return the leaves of ``tree`` in the order of those of ``like``, or None.

    None is returned where the two have not one structure: other kinds or lengths of tuples and
    lists, other keys, or None on one side.
    """
    if isinstance(like, (tuple, list)):
        if type(tree) is not type(like) or len(tree) != len(like):
            return None
        pairs = list(zip(tree, like, strict=True))
    elif isinstance(like, dict):
        if not isinstance(tree, dict) or tree.keys() != like.keys():
            return None
        pairs = [(tree[key], like[key]) for key in like]
    else:
        parts = isinstance(tree, (tuple, list, dict)) or (tree is None) != (like is None)
        return None if parts else [tree]
    leaves: list[Any] = []
    for part in pairs:
        found = tree_aligned(*part)
        if found is None:
            return None
        leaves += found
    return leaves


def tree_shown(tree: Any) -> str:
    """Return the structure of ``tree`` as text, with ``*`` for each leaf but None."""
    return str(tree_map(lambda leaf: None if leaf is None else _LEAF, tree))


class _Leaf:
    def __repr__(self) -> str:
        return "*"


_LEAF = _Leaf()
