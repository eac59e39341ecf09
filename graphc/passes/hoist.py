"""What a loop need not do step by step: products that become one product over all steps.

Three kinds of products leave a body. What depends on no carry is computed before the loop, from the
whole sequence, and scanned over. What a step adds to a carry that nothing else reads, as it is with
the gradients of weights, is added up after the loop, over steps and rows at once; so are sums, such
as gradients of a bias, of what is there for a product anyway. And what only leaves the loop, step
by step, is computed after it. Large products are nearer to the peak of the machine than small ones
(Appleyard, Kociský and Blunsom, *Optimizing Performance of Recurrent Neural Networks on GPUs*,
2016, sections 3.1 and 3.3).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from string import ascii_letters
from typing import NamedTuple

from graphc.ir.graph import Graph, replace_inputs
from graphc.ir.results import Result, result
from graphc.ir.source import Constant
from graphc.ir.tensor import Tensor, building
from graphc.ops.arithmetic import Add
from graphc.ops.body import Body, copied, placeholder
from graphc.ops.einsum import einsum
from graphc.ops.linalg import Matmul
from graphc.ops.reduce import Sum
from graphc.ops.reduce import sum as sum_of
from graphc.ops.scan import Scan
from graphc.types import Several


def hoist(graph: Graph, hits: Counter[str]) -> Graph:
    """Take products out of loops that have a fixed number of steps."""
    asked: dict[Tensor, set[int]] = {
        n: set() for n in graph.nodes if isinstance(n.op, Scan) and not n.op.counted
    }
    if not asked:
        return graph
    for node in graph.nodes:
        if isinstance(node.op, Result) and node.inputs[0] in asked:
            asked[node.inputs[0]].add(node.op.number)
    moved: dict[Tensor, dict[int, Tensor]] = {}

    def rule(node: Tensor, operands: tuple[Tensor, ...]) -> Tensor:
        if node in asked:
            loop = _Loop(node, operands, asked[node])
            if loop.finds_something():
                with building(phase=node.phase, loc=node.loc, scope=node.scope):
                    made, moved[node] = loop.without(hits)
                return made
        if isinstance(node.op, Result) and node.inputs[0] in moved:
            return moved[node.inputs[0]][node.op.number]
        return replace_inputs(node, operands)

    return graph.rebuild(rule)


class _Sum(NamedTuple):
    """A carry to which a step adds: what is added after the loop, and what in it."""

    after: list[Tensor]
    within: list[Tensor]


class _Loop:
    """A loop, and what may leave it."""

    def __init__(self, node: Tensor, operands: Sequence[Tensor], asked: set[int]) -> None:
        assert isinstance(node.op, Scan)
        self.node, self.op, self.operands, self.asked = node, node.op, operands, asked
        self.body = body = node.op.body
        self.given = dict(zip(body.inputs, operands, strict=True))
        self.fixed = {n for n in body.nodes if n in body.taken or isinstance(n.op, Constant)}
        self.users: Counter[Tensor] = Counter(x for n in body.nodes for x in n.inputs)
        self.users.update(body.following)
        count = len(body.carries)
        self.values = [body.nodes[n - count] for n in sorted(asked) if n >= count]
        self.users.update(self.values)
        self.early = self._found_early()
        self.late = dict.fromkeys(v for v in self.values if self._leaves(v))
        self.sums = self._found_sums()

    def finds_something(self) -> bool:
        return bool(self.early or self.late or self.sums)

    def _found_early(self) -> dict[Tensor, None]:
        """Return the products of a slice and of what does not change."""
        return {
            n: None
            for n in self.body.nodes
            if isinstance(n.op, Matmul)
            and any(x in self.body.sliced for x in n.inputs)
            and all(x in self.body.sliced or x in self.fixed for x in n.inputs)
            and _letters(n) is not None
        }

    def _leaves(self, value: Tensor) -> bool:
        """Tell whether a product is stacked, and serves nothing else."""
        return (
            isinstance(value.op, Matmul)
            and value not in self.early
            and self.users[value] == 1
            and any(x in self.fixed for x in value.inputs)
            and all(x in self.fixed or self._stacks(x) for x in value.inputs)
            and _letters(value) is not None
        )

    def _stacks(self, x: Tensor) -> bool:
        """Tell whether a value is another one in each step."""
        return x not in self.fixed and not isinstance(x.type, Several)

    def _found_sums(self) -> dict[Tensor, _Sum]:
        """Return, by carry, what is added to it in a step."""
        found: dict[Tensor, _Sum] = {}
        stacked = {x for v in (*self.values, *self.late) for x in (v, *v.inputs)}
        plans = []
        for number, (carry, new) in enumerate(
            zip(self.body.carries, self.body.following, strict=True)
        ):
            if self.users[carry] != 1 or number not in self.asked:
                continue
            terms = list(self._terms(new, carry))
            if sum(t is carry for t in terms) == 1:
                plans.append((carry, [t for t in terms if t is not carry]))
        for carry, terms in plans:
            products = dict.fromkeys(t for t in terms if self._sums_up(t))
            found[carry] = _Sum([*products], [t for t in terms if t not in products])
            stacked |= {x for t in products for x in t.inputs}
        for carry, (after, within) in found.items():
            sums = {
                t: None
                for t in within
                if isinstance(t.op, Sum) and t.inputs[0] in stacked
                if self.users[t] == 1 and self._stacks(t.inputs[0])
            }
            found[carry] = _Sum([*after, *sums], [t for t in within if t not in sums])
        return {carry: terms for carry, terms in found.items() if terms.after}

    def _terms(self, node: Tensor, carry: Tensor) -> Iterator[Tensor]:
        """Yield what is added up to ``node``."""
        if isinstance(node.op, Add) and self.users[node] == 1 and node.type == carry.type:
            for x in node.inputs:
                yield from self._terms(x, carry)
        else:
            yield node

    def _sums_up(self, term: Tensor) -> bool:
        return (
            isinstance(term.op, Matmul)
            and self.users[term] == 1
            and all(map(self._stacks, term.inputs))
            and _letters(term) is not None
        )

    def without(self, hits: Counter[str]) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the loop with less in it, and what the results asked for are now."""
        body, count = self.body, len(self.body.carries)
        images: dict[Tensor, Tensor] = {}
        sequences = {t: self.given[t] for t in body.slices}
        for n in self.early:
            images[n] = placeholder("slice", n.type)
            sequences[images[n]] = self._whole(n, [self.given.get(x, x) for x in n.inputs])
        gone = {c for c, terms in self.sums.items() if not terms.within}
        kept = [(c, new) for c, new in zip(body.carries, body.following, strict=True)
                if c not in gone]  # fmt: skip
        following = [
            _added([c, *self.sums[c].within]) if c in self.sums else new for c, new in kept
        ]
        parts = [*self.late, *(t for terms in self.sums.values() for t in terms.after)]
        wanted = dict.fromkeys(
            x
            for x in (*self.values, *(x for t in parts for x in t.inputs))
            if x not in self.late and x not in self.fixed
        )
        copied([*following, *wanted], images)
        wanted = dict.fromkeys(images.get(x, x) for x in wanted)
        new_body = Body(
            [c for c, _ in kept], list(sequences), body.captured,
            [images.get(t, t) for t in following], [t for t in wanted if t not in sequences],
        )  # fmt: skip
        operands = [
            *(self.given[c] for c, _ in kept), *sequences.values(),
            *(self.given[t] for t in body.captured),
        ]  # fmt: skip
        op = self.op.replaced(body=new_body)
        out = Tensor(op, tuple(operands), op.infer(*[x.type for x in operands]), like=self.node)
        hits["before"] += len(self.early)
        hits["after"] += len(parts)

        def stacked(x: Tensor) -> Tensor:
            x = images.get(x, x)
            return sequences[x] if x in sequences else op.stacked(out, x)

        def whole(x: Tensor) -> Tensor:
            return self.given.get(x, x) if x in self.fixed else stacked(x)

        found: dict[int, Tensor] = {}
        own = {c: number for number, (c, _) in enumerate(kept)}
        for number in self.asked:
            if number >= count:
                value = body.nodes[number - count]
                late = value in self.late
                found[number] = (
                    self._whole(value, [whole(x) for x in value.inputs]) if late else stacked(value)
                )
                continue
            carry = body.carries[number]
            last = result(out, own[carry]) if carry in own else self.given[carry]
            after = self.sums[carry].after if carry in self.sums else []
            found[number] = _added([last, *(_over_steps(t, [stacked(x) for x in t.inputs])
                                            for t in after)])  # fmt: skip
        return out, found

    def _whole(self, product: Tensor, operands: Sequence[Tensor]) -> Tensor:
        """Return a product of all steps; ``operands`` are stacked, or the same in each."""
        letters = _letters(product)
        assert letters is not None
        terms = [
            own if x in self.fixed else f"t{own}"
            for x, own in zip(product.inputs, letters, strict=False)
        ]
        return einsum(f"{','.join(terms)}->t{letters[2]}", *operands)


def _over_steps(term: Tensor, operands: Sequence[Tensor]) -> Tensor:
    """Return the sum over all steps of a product, or of a sum."""
    if isinstance(term.op, Sum):
        ndim = term.inputs[0].ndim
        total = sum_of(operands[0], axis=(0, *(a % ndim + 1 for a in term.op.axes)))
        return total if total.type == term.type else total.reshape(term.type.shape)
    letters = _letters(term)
    assert letters is not None
    return einsum(f"t{letters[0]},t{letters[1]}->{letters[2]}", *operands)


def _letters(product: Tensor) -> tuple[str, str, str] | None:
    """Return the subscripts of a product's operands and result; None if axes are broadcast."""
    a, b = product.inputs
    op = product.op
    assert isinstance(op, Matmul)
    lead = ascii_letters[3 : 3 + product.ndim - 2].replace("t", "A")
    own = [lead[len(lead) - (x.ndim - 2) :] for x in (a, b)]
    for x in (a, b):
        if x.type.shape[:-2] != product.type.shape[product.ndim - x.ndim : -2]:
            return None
    left = "ba" if op.transpose_a else "ab"
    right = "cb" if op.transpose_b else "bc"
    return own[0] + left, own[1] + right, f"{lead}ac"


def _added(terms: Sequence[Tensor]) -> Tensor:
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total
