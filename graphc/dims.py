"""Dimensions known at run time: polynomials, in one normal form, of the sizes left open.

Two dimensions that are equal for all sizes by the rules of sums and products are equal objects:
``(n - 2) * m`` is ``m * n - 2 * m`` however it came about.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias


class Sizes(int):
    """What the sizes left open are in one call: the number of the batch, and named ones.

    It is the batch's number wherever only that matters; a plain number stands for a call in
    which every size is that. Equal if all sizes are.
    """

    named: tuple[tuple[str, int], ...]
    """Names and sizes, by name."""

    def __new__(cls, batch: int, named: Iterable[tuple[str, int]]) -> Sizes:
        self = super().__new__(cls, batch)
        self.named = tuple(sorted(named))
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sizes):
            return False
        return int(self) == int(other) and self.named == other.named

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((int(self), self.named))

    def __reduce__(self) -> tuple[Any, ...]:
        return Sizes, (int(self), self.named)


def with_batch(sizes: int, batch: int) -> int:
    """Return ``sizes`` for a batch of ``batch`` rows."""
    return Sizes(batch, sizes.named) if isinstance(sizes, Sizes) else batch


def show_sizes(sizes: int) -> str:
    """Return the sizes of a call for messages: ``3 rows, length 7``."""
    named = sizes.named if isinstance(sizes, Sizes) else ()
    return ", ".join([f"{int(sizes)} rows", *(f"{name} {size}" for name, size in named)])


@dataclass(frozen=True, slots=True)
class Atom:
    """What a dimension is a polynomial of.

    ``kind`` is "batch"; "size", one that has the name ``a``; "step", the number of the loop's
    step ``a`` (in places, never in shapes); or a function of dimensions: "max" or "min" of ``a``
    and ``b``, or "ceildiv", ``a / b`` rounded up.
    """

    kind: str
    a: Any = None
    b: Any = None

    def at(self, batch: int) -> int:
        """Return the value for a batch of ``batch`` rows."""
        if self.kind == "batch":
            return int(batch)
        if self.kind in ("size", "step"):
            plain = int(batch) if self.kind == "size" else 0
            return dict(batch.named).get(self.a, plain) if isinstance(batch, Sizes) else plain
        a, b = dim_at(self.a, batch), dim_at(self.b, batch)
        if self.kind == "ceildiv":
            return -(-a // b)
        return max(a, b) if self.kind == "max" else min(a, b)

    def bounds(self) -> tuple[float, float]:
        """Return numbers between which the value lies for all sizes."""
        if self.kind in ("batch", "size", "step"):
            return 0, math.inf
        (low, high), (least, most) = _bounds(self.a), _bounds(self.b)
        if self.kind == "ceildiv":
            return low / self.b, high / self.b + 1
        choose = max if self.kind == "max" else min
        return choose(low, least), choose(high, most)

    def __str__(self) -> str:
        if self.kind in ("size", "step"):
            return str(self.a)
        return self.kind if self.kind == "batch" else f"{self.kind}({self.a}, {self.b})"


Product: TypeAlias = tuple[Atom, ...]
"""Atoms, in order, whose product is meant: 1 if there are none."""


@dataclass(frozen=True, slots=True)
class Dim:
    """A sum of products of atoms times whole numbers: by default the batch itself.

    Never a number: what has no atom left becomes an ``int``.
    """

    terms: tuple[tuple[Product, int], ...] = (((Atom("batch"),), 1),)

    @staticmethod
    def of(kind: str, a: Any = None, b: Any = None) -> Dim:
        """Return the dimension that is an :class:`Atom`."""
        return Dim((((Atom(kind, a, b),), 1),))

    @property
    def atom(self) -> Atom | None:
        """The atom that this is and no more, or None."""
        if len(self.terms) == 1:
            ((product, factor),) = self.terms
            if len(product) == 1 and factor == 1:
                return product[0]
        return None

    def at(self, batch: int) -> int:
        """Return the value for a batch of ``batch`` rows."""
        total = 0
        for product, value in self.terms:
            for atom in product:
                value *= atom.at(batch)
            total += value
        return total

    def by(self, symbol: Dim) -> tuple[AnyDim, AnyDim]:
        """Return ``(a, b)`` of ``a + b * symbol``, an atom that stands in no product twice."""
        atom, rest, factors = symbol.atom, dict[Product, int](), dict[Product, int]()
        for product, factor in self.terms:
            if atom in product:
                left = list(product)
                left.remove(atom)
                factors[tuple(left)] = factor
            else:
                rest[product] = factor
        return _sum(rest), _sum(factors)

    def __add__(self, other: AnyDim) -> AnyDim:
        if other == 0:
            return self
        total = dict(self.terms)
        for product, factor in _terms(other):
            total[product] = total.get(product, 0) + factor
        return _sum(total)

    __radd__ = __add__

    def __mul__(self, other: AnyDim) -> AnyDim:
        if isinstance(other, int):
            if other in (0, 1):
                return self if other else 0
            return Dim(tuple([(product, factor * other) for product, factor in self.terms]))
        total: dict[Product, int] = {}
        for a, times in self.terms:
            for b, factor in other.terms:
                product = tuple(sorted((*a, *b), key=_rank))
                total[product] = total.get(product, 0) + times * factor
        return _sum(total)

    __rmul__ = __mul__

    def __neg__(self) -> AnyDim:
        return self * -1

    def __sub__(self, other: AnyDim) -> AnyDim:
        return self + (-other)

    def __rsub__(self, other: int) -> AnyDim:
        return -self + other

    def __str__(self) -> str:
        return written(self, str, "*")

    __repr__ = __str__


AnyDim: TypeAlias = int | Dim
Shape: TypeAlias = tuple[AnyDim, ...]

BATCH = Dim()


def written(dim: Dim, atom: Any, times: str) -> str:
    """Return the text of ``dim``, its atoms shown by ``atom``: ``batch*length - 2*batch + 3``."""
    text = ""
    for product, factor in dim.terms:
        parts = [atom(one) for one in product]
        if abs(factor) != 1 or not parts:
            parts.insert(0, str(abs(factor)))
        sign = "-" if factor < 0 else "+" if text else ""
        text += f" {sign} " if text else sign
        text += times.join(parts)
    return text


def _terms(dim: AnyDim) -> tuple[tuple[Product, int], ...]:
    return dim.terms if isinstance(dim, Dim) else (((), dim),)


_SYMBOLS = ("batch", "size", "step")
"""Kinds of atoms that are no functions, in their order in a product."""


def _rank(atom: Atom) -> tuple[int, str]:
    known = atom.kind in _SYMBOLS
    return _SYMBOLS.index(atom.kind) if known else len(_SYMBOLS), str(atom)


def _order(term: tuple[Product, int]) -> tuple[int, list[tuple[int, str]]]:
    """Order products by degree, then by their atoms: as dividing polynomials needs it."""
    return -len(term[0]), [_rank(atom) for atom in term[0]]


def _sum(terms: Mapping[Product, int]) -> AnyDim:
    """Return a sum in its normal form."""
    left = [(product, factor) for product, factor in terms.items() if factor]
    if all(not product for product, _ in left):
        return left[0][1] if left else 0
    return Dim(tuple(sorted(left, key=_order) if len(left) > 1 else left))


def dim_at(dim: AnyDim, batch: int) -> int:
    """Return ``dim`` as a number, for a batch of ``batch`` rows."""
    return dim if isinstance(dim, int) else dim.at(batch)


def named_sizes(dim: AnyDim) -> set[str]:
    """Return the names of the sizes that ``dim`` is made of."""
    found: set[str] = set()
    for product, _ in _terms(dim):
        for atom in product:
            if atom.kind == "size":
                found.add(atom.a)
            elif atom.kind in ("max", "min", "ceildiv"):
                found |= named_sizes(atom.a) | named_sizes(atom.b)
    return found


def _bounds(dim: AnyDim) -> tuple[float, float]:
    """Return numbers between which ``dim`` lies for all sizes."""
    low = high = 0.0
    for product, factor in _terms(dim):
        least: float = factor
        most: float = factor
        for atom in product:
            ends = [_times(x, y) for x in (least, most) for y in atom.bounds()]
            least, most = min(ends), max(ends)
        low, high = low + least, high + most
    return low, high


def _times(a: float, b: float) -> float:
    return 0.0 if a == 0 or b == 0 else a * b


def never_below(a: AnyDim, b: AnyDim) -> bool:
    """Tell whether ``a >= b`` is known to hold for every batch."""
    return _bounds(a - b)[0] >= 0


def dim_max(a: AnyDim, b: AnyDim) -> AnyDim:
    if never_below(a, b):
        return a
    return b if never_below(b, a) else Dim.of("max", *_sorted(a, b))


def dim_min(a: AnyDim, b: AnyDim) -> AnyDim:
    if never_below(a, b):
        return b
    return a if never_below(b, a) else Dim.of("min", *_sorted(a, b))


def _sorted(*dims: AnyDim) -> list[AnyDim]:
    return sorted(dims, key=lambda d: (isinstance(d, int), str(d)))


def dim_ceildiv(a: AnyDim, k: int) -> AnyDim:
    """Return ``ceil(a / k)`` for ``k > 0``."""
    if isinstance(a, int):
        return -(-a // k)
    whole: AnyDim = 0
    rest: AnyDim = 0
    for product, factor in a.terms:
        part = _sum({product: 1})
        times = factor // k if product else -(-factor // k)
        whole, rest = part * times + whole, part * (factor - times * k) + rest
    return whole + (-(-rest // k) if isinstance(rest, int) else Dim.of("ceildiv", rest, k))


def divided(dim: AnyDim, by: AnyDim) -> AnyDim | None:
    """Return ``dim / by`` if that is a dimension whatever the sizes are, else None."""
    if by == 0:
        return None  # any number of times
    quotient: AnyDim = 0
    lead, times = _terms(by)[0]
    while dim != 0:
        product, factor = _terms(dim)[0]
        left = list(product)
        for atom in lead:
            if atom not in left:
                return None
            left.remove(atom)
        if factor % times:
            return None
        part = _sum({tuple(left): factor // times})
        quotient, dim = part + quotient, dim - part * by
    return quotient


def size_of(shape: Iterable[AnyDim]) -> AnyDim:
    """Return the number of elements of ``shape``."""
    total: AnyDim = 1
    for dim in shape:
        total = dim * total
    return total


def shape_at(shape: Shape, batch: int) -> tuple[int, ...]:
    return tuple(dim_at(d, batch) for d in shape)
