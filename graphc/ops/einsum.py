"""Einstein summation, by diagonals, sums and matrix products."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from graphc.errors import ArgumentError, DTypeError, ShapeError
from graphc.ir.op import Sample, function
from graphc.ir.tensor import Tensor, apply
from graphc.ops.arithmetic import multiply
from graphc.ops.cast import cast
from graphc.ops.linalg import SECTION, Matmul
from graphc.ops.operands import common
from graphc.ops.reduce import sum
from graphc.ops.shape import permute_dims, reshape
from graphc.ops.slices import diagonal
from graphc.types import NOMINAL_BATCH, AnyDim, dim_at, show_dim, size_of

Labels = tuple[str, ...]
"""One name for each axis: a letter, or ``.<n>`` for the n-th axis, from the end, of ``...``."""


@dataclass(frozen=True)
class _Term:
    """A tensor and the labels of its axes, all different."""

    tensor: Tensor
    labels: Labels

    def dim(self, label: str) -> AnyDim:
        return self.tensor.type.shape[self.labels.index(label)]

    def ordered(self, labels: Iterable[str]) -> Tensor:
        """Return the tensor with its axes in the order of ``labels``."""
        return permute_dims(self.tensor, [self.labels.index(label) for label in labels])


def _samples() -> Iterable[Sample]:
    rng = np.random.default_rng(0)
    sizes = {"a": 2, "b": 3, "c": 4, "d": 2, "e": 1}
    for subscripts in (
        "ab,bc->ac", "ab,bc", "ab,cb->ca", "ba,bc->ca", "abc->cab", "abc->b", "abc->", "a,a->",
        "a,b->ab", "a,a->a", "aa->a", "aa->", "aa", "aab->ba", "aba,a->b", "abc,acd->abd",
        "abc,cbd->ad", "ab,b->a", "ab,ab->ab", "ab,bc,cd->ad", "ab,bc,cd,da->", "ab,,b->a",
        "abc,c,a->b", "ba", "e,eb->b", "abcd,abcd->cd", "abcd,bd,ac->dcab", " a b , b c -> a c ",
        "abe,be->a",
    ):  # fmt: skip
        inputs = subscripts.replace(" ", "").split("->")[0].split(",")
        operands = [rng.standard_normal([sizes[c] for c in term]) for term in inputs]
        yield Sample((subscripts, *operands))
    x, y = rng.standard_normal((5, 2, 3)), rng.standard_normal((5, 3, 4))
    yield Sample(("...ab,...bc->...ac", x, y))
    yield Sample(("...ab,...bc", x, y[:1]))
    yield Sample(("...b,bc->c...", x, y[0]))
    yield Sample(("i...->...", x))
    yield Sample(("...ii->...i", rng.standard_normal((2, 3, 3))))
    yield Sample(("ab...,b...->a...", x, x[0]))
    yield Sample(("ij,jk->ik", x[0, :, :0], y[0, :0]))
    yield Sample(("ij,jk->ik", np.array([[1, 2]]), np.array([[3], [4]])), differentiable=False)
    for dtype in ("int32", "bool"):
        yield Sample(("abc->b", (x > 0).astype(dtype)))


@function(samples=_samples, reference=np.einsum, section=SECTION)
def einsum(subscripts: str, *operands: object) -> Tensor:
    """Return the sum of products that ``subscripts`` describe, as ``numpy.einsum``.

    ``"ij,jk->ik"`` is a matrix product, ``"ii->i"`` a diagonal; ``...`` stands for axes that
    broadcast; without ``->`` the labels that occur once come out in alphabetical order. Several
    operands are multiplied pair by pair, the cheapest pair first.
    """
    if not isinstance(subscripts, str):
        raise DTypeError("the first argument of einsum is a string such as 'ij,jk->ik'")
    if not operands:
        raise ArgumentError(
            "must specify the einstein sum subscripts string and at least one operand"
        )
    tensors = common("einsum", *operands)
    inputs, output = _parse(subscripts, [t.ndim for t in tensors])
    terms = [_distinct(t, labels) for t, labels in zip(tensors, inputs, strict=True)]
    terms = _without_ones(terms)
    while len(terms) > 1:
        left, right = min(combinations(terms, 2), key=_cost)
        terms = [t for t in terms if t is not left and t is not right]
        needed = dict.fromkeys((*output, *(x for t in terms for x in t.labels)))
        terms.append(_product(left, right, needed))
    term = _summed(terms[0], output)
    missing = [label for label in output if label not in term.labels]
    if missing:  # all its operands have length 1 there
        shape = (*term.tensor.type.shape, *(1 for _ in missing))
        term = _Term(reshape(term.tensor, shape), (*term.labels, *missing))
    return cast(term.ordered(output), tensors[0].dtype)  # sums of int32 are of int64


# -- the notation --------------------------------------------------------------------------------


def _parse(subscripts: str, ranks: Sequence[int]) -> tuple[list[Labels], Labels]:
    """Return the labels of the operands and of the result."""
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    parts = left.split(",")
    if len(parts) != len(ranks):
        fewer = "fewer" if len(parts) > len(ranks) else "more"
        raise ArgumentError(
            f"{fewer} operands provided to einstein sum function than specified in the "
            f"subscripts string: {len(ranks)} for {subscripts!r}"
        )
    inputs = [_labels(part, rank) for part, rank in zip(parts, ranks, strict=True)]
    seen = [label for labels in inputs for label in labels]
    dots = max((labels for labels in map(_ellipsis, inputs)), key=len, default=())
    if not arrow:
        once = sorted(label for label in set(seen) if seen.count(label) == 1 and label[0] != ".")
        return inputs, (*dots, *once)
    output = _labels(right, len(right.replace("...", "")) + len(dots))
    if "..." in right and "..." not in left:
        raise ArgumentError("output has an ellipsis, but no operand has one")
    for label in output:
        if label not in seen:
            raise ArgumentError(
                f"einstein sum subscripts string included output subscript '{label}' "
                "which never appeared in an input"
            )
        if output.count(label) > 1:
            raise ArgumentError(
                f"einstein sum subscripts string includes output subscript '{label}' multiple times"
            )
    return inputs, output


def _ellipsis(labels: Labels) -> Labels:
    return tuple(label for label in labels if label[0] == ".")


def _labels(part: str, rank: int) -> Labels:
    """Return one label for each of ``rank`` axes."""
    head, dots, tail = part.partition("...")
    for letter in head + tail:
        if not (letter.isascii() and letter.isalpha()):
            raise ArgumentError(
                f"invalid subscript '{letter}' in einstein sum subscripts string, "
                "subscripts must be letters"
            )
    hidden = rank - len(head) - len(tail)
    if hidden < 0:
        raise ArgumentError(
            "einstein sum subscripts string contains too many subscripts for operand"
        )
    if hidden and not dots:
        raise ShapeError(
            "operand has more dimensions than subscripts given in einstein sum, but no '...' "
            "ellipsis provided to broadcast the extra dimensions."
        )
    return (*head, *(f".{n}" for n in reversed(range(hidden))), *tail)


# -- the computation -----------------------------------------------------------------------------


def _distinct(t: Tensor, labels: Labels) -> _Term:
    """Take diagonals until no label stands twice."""
    for label in dict.fromkeys(labels):
        while labels.count(label) > 1:
            first = labels.index(label)
            second = labels.index(label, first + 1)
            a, b = t.type.shape[first], t.type.shape[second]
            if a != b:
                raise ShapeError(
                    f"dimensions in operand for collapsing index '{label}' don't match "
                    f"({show_dim(a)} != {show_dim(b)})"
                )
            t = diagonal(t, 0, first, second)
            rest = [x for n, x in enumerate(labels) if n not in (first, second)]
            labels = (*rest, label)
    return _Term(t, labels)


def _without_ones(terms: list[_Term]) -> list[_Term]:
    """Check that equal labels have equal lengths; drop axes of length 1, which broadcast."""
    sizes: dict[str, AnyDim] = {}
    for term in terms:
        for label, dim in zip(term.labels, term.tensor.type.shape, strict=True):
            known = sizes.setdefault(label, dim)
            if known == 1:
                sizes[label] = dim
            elif dim not in (1, known):
                raise ShapeError(
                    f"operands could not be broadcast together: '{label.lstrip('.') or '...'}' has "
                    f"length {show_dim(known)} and {show_dim(dim)}"
                )
    result = []
    for term in terms:
        kept = [n for n, dim in enumerate(term.tensor.type.shape) if dim != 1]
        tensor = reshape(term.tensor, tuple(term.tensor.type.shape[n] for n in kept))
        result.append(_Term(tensor, tuple(term.labels[n] for n in kept)))
    return result


def _cost(pair: tuple[_Term, _Term]) -> int:
    """Return the multiplications that the product of two terms takes."""
    left, right = pair
    dims = {**dict(zip(left.labels, left.tensor.type.shape, strict=True)),
            **dict(zip(right.labels, right.tensor.type.shape, strict=True))}  # fmt: skip
    return dim_at(size_of(dims.values()), NOMINAL_BATCH)


def _summed(term: _Term, needed: Iterable[str]) -> _Term:
    """Sum the axes whose labels are not ``needed``."""
    axes = tuple(n for n, label in enumerate(term.labels) if label not in set(needed))
    if not axes:
        return term
    kept = tuple(label for n, label in enumerate(term.labels) if n not in axes)
    return _Term(sum(term.tensor, axes), kept)


def _product(left: _Term, right: _Term, needed: Collection[str]) -> _Term:
    """Multiply two terms and sum over the labels that nothing else needs.

    The others come in the order in which they are needed, as far as a product has it.
    """
    left = _summed(left, (*needed, *right.labels))
    right = _summed(right, (*needed, *left.labels))
    shared = [x for x in left.labels if x in right.labels]
    batch = [x for x in needed if x in shared]
    folded = [x for x in shared if x not in needed]
    rows = [x for x in needed if x in left.labels and x not in shared]
    columns = [x for x in needed if x in right.labels and x not in shared]
    if not folded or not (rows or columns):  # no matrix: an elementwise product fuses
        return _summed(_outer(left, right, [*batch, *folded], rows, columns), needed)
    lead = [left.dim(x) for x in batch]
    k = size_of(left.dim(x) for x in folded)
    m, n = [left.dim(x) for x in rows], [right.dim(x) for x in columns]
    a = reshape(left.ordered([*batch, *rows, *folded]), (*lead, size_of(m), k))
    b = reshape(right.ordered([*batch, *folded, *columns]), (*lead, k, size_of(n)))
    out = reshape(apply(Matmul(), a, b), (*lead, *m, *n))
    return _Term(out, (*batch, *rows, *columns))


def _outer(
    left: _Term, right: _Term, batch: list[str], rows: list[str], columns: list[str]
) -> _Term:
    """Multiply two terms that share the labels ``batch``, element by element."""
    a = left.ordered([*batch, *rows])
    a = reshape(a, (*a.type.shape, *(1 for _ in columns)))
    b = right.ordered([*batch, *columns])
    head, tail = b.type.shape[: len(batch)], b.type.shape[len(batch) :]
    b = reshape(b, (*head, *(1 for _ in rows), *tail))
    return _Term(multiply(a, b), (*batch, *rows, *columns))
