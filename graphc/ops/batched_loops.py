"""Loops and branches for many samples at once.

A loop whose number of steps is the same for all samples takes them side by side. Where samples
differ in that, steps are taken until the last sample is done; what is done stays as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from graphc.errors import ArgumentError, user_location
from graphc.ir.results import result
from graphc.ir.source import constant
from graphc.ir.tensor import FUNCTIONS, Tensor, apply
from graphc.ops.batched import Case, behind, spread
from graphc.ops.body import Body, placeholder, zeros
from graphc.ops.creation import iota
from graphc.ops.scan import Branch, Scan
from graphc.types import BOOL, INT64, AnyDim, TensorType

Sample: TypeAlias = tuple[Tensor, bool]
Through: TypeAlias = Callable[
    [Sequence[Tensor], Mapping[Tensor, Sample], AnyDim], dict[Tensor, Sample]
]
"""What takes a graph to that of many samples."""


def batched_loop(case: Case, asked: set[int], through: Through) -> Mapping[int, Sample]:
    """Return the results ``asked`` for of a loop for many samples."""
    loop = _Batched(case, asked, through)
    if isinstance(loop.op, Branch) and loop.op.counted and case.has[-1]:
        return loop.chosen()
    return loop.made()


class _Batched:
    def __init__(self, case: Case, asked: set[int], through: Through) -> None:
        assert isinstance(case.node.op, Scan)
        self.case, self.op, self.through, self.size = case, case.node.op, through, case.size
        self.body = body = self.op.body
        self.given = dict(zip(body.inputs, zip(case.operands, case.has, strict=True), strict=False))
        count = len(body.carries)
        self.values = {n: body.nodes[n - count] for n in sorted(asked) if n >= count}
        self.counts = self.op.counted and case.has[-1]
        """Whether samples differ in the number of their steps from the beginning."""

    def _whole(self, sample: Sample) -> Tensor:
        made, has = sample
        return made if has else spread(made, self.size)

    def _check_state(self, flags: Mapping[Tensor, bool]) -> None:
        if any(flags[carry] for carry in self.body.states):
            raise ArgumentError(
                "vmap: what layers learn by themselves, such as running statistics, would be "
                f"another for each sample; keep those layers outside\n  at {user_location()}"
            )

    # -- a branch that each sample takes or not --------------------------------------------------

    def chosen(self) -> Mapping[int, Sample]:
        body = self.body
        self._check_state(dict.fromkeys(body.carries, True))
        seeds = dict(self.given)
        for own in body.slices:
            x, has = self.given[own]
            seeds[own] = (x[:, 0] if has else x[0]), has
        found = self.through([*body.following, *self.values.values()], seeds, self.size)
        taken = self.case.operands[-1] > 0
        results: dict[int, Sample] = {}
        for number, (carry, new) in enumerate(zip(body.carries, body.following, strict=True)):
            after = self._whole(found.get(new, (new, False)))
            results[number] = _masked(taken, after, self._whole(self.given[carry])), True
        for number, value in self.values.items():
            after = self._whole(found.get(value, (value, False)))
            own = _masked(taken, after, zeros(after.type))
            results[number] = (FUNCTIONS["expand_dims"](own, 1), True)
        return results

    # -- steps for all samples -----------------------------------------------------------------

    def made(self) -> Mapping[int, Sample]:
        flags = {c: self.given[c][1] for c in self.body.carries}
        ends = False  # whether samples end by themselves
        while True:
            seeds, images = self._inputs(flags)
            body = self.body
            going = [] if body.going is None else [body.going]
            roots = [*body.following, *self.values.values(), *going]
            found = self.through(roots, seeds, self.size)
            now = {
                carry: flags[carry] or found.get(new, (new, False))[1]
                for carry, new in zip(body.carries, body.following, strict=True)
            }
            ends = ends or any(found.get(t, (t, False))[1] for t in going)
            if self.counts or ends:
                now = dict.fromkeys(body.carries, True)
            if now == flags:
                break
            flags = now
        self._check_state(flags)
        if not (self.counts or ends):
            return self._together(flags, images, found)
        return self._masked(images, found)

    def _inputs(
        self, flags: Mapping[Tensor, bool]
    ) -> tuple[dict[Tensor, Sample], dict[Tensor, Tensor]]:
        """Return what the inputs of the body become, and the new ones."""
        has = {own: flags.get(own, given[1]) for own, given in self.given.items()}
        images = {
            own: placeholder(
                own.label or "input",
                own.type.with_shape((self.size, *own.type.shape)) if has[own] else own.type,
            )
            for own in self.body.inputs
        }
        return {own: (image, has[own]) for own, image in images.items()}, images

    def _operands(self, inputs: Sequence[Tensor], flags: Mapping[Tensor, bool]) -> list[Tensor]:
        """Return what stands for the inputs of the body outside."""
        found = []
        for own in inputs:
            x, has = self.given[own]
            if own in self.body.sliced:
                found.append(FUNCTIONS["moveaxis"](x, 0, 1) if has else x)
            else:
                found.append(self._whole((x, has)) if flags.get(own) else x)
        return found

    def _together(
        self,
        flags: Mapping[Tensor, bool],
        images: Mapping[Tensor, Tensor],
        found: Mapping[Tensor, Sample],
    ) -> Mapping[int, Sample]:
        body, op = self.body, self.op
        following = []
        for carry, new in zip(body.carries, body.following, strict=True):
            sample = found.get(new, (new, False))
            following.append(self._whole(sample) if flags[carry] else sample[0])
        values = {n: found.get(t, (t, False)) for n, t in self.values.items()}
        going = None if body.going is None else found.get(body.going, (body.going, False))[0]
        new_body = Body(
            [images[t] for t in body.carries], [images[t] for t in body.slices],
            [images[t] for t in body.captured], following, [t for t, _ in values.values()], going,
            [images[t] for t in body.states],
        )  # fmt: skip
        counted = [self.case.operands[-1]] if op.counted else []
        operands = [*self._operands(body.inputs, flags), *counted]
        loop = op.replaced(body=new_body)
        out = apply(loop, *operands)
        results: dict[int, Sample] = {
            k: (result(out, k), flags[carry]) for k, carry in enumerate(body.carries)
        }
        for number, (value, has) in values.items():
            stacked = loop.stacked(out, value)
            results[number] = (FUNCTIONS["moveaxis"](stacked, 1, 0) if has else stacked), has
        return results

    def _masked(
        self, images: Mapping[Tensor, Tensor], found: Mapping[Tensor, Sample]
    ) -> Mapping[int, Sample]:
        """Return the results of a loop that goes on until all samples are done."""
        body, op, own_flags = self.body, self.op, dict.fromkeys(self.body.carries, True)
        samples = TensorType(INT64, (self.size,))
        steps = self.case.operands[-1] if self.counts else spread(self.case.operands[-1], self.size)
        captured = [images[t] for t in body.captured]
        outside = self._operands(body.captured, own_flags)
        slices = [images[t] for t in body.slices]
        sequences = self._operands(body.slices, own_flags)
        carries: list[Tensor] = []
        firsts: list[Tensor] = []
        more: list[Tensor] = []
        going: Tensor | None = None
        if body.going is None:  # the step's number says which samples take it
            own, number = placeholder("steps", samples), placeholder("step", TensorType(INT64, ()))
            captured, outside = [*captured, own], [*outside, steps]
            slices, sequences = [*slices, number], [*sequences, iota((op.length,), 0, INT64)]
            active = number < own
        else:  # a carry does
            total = placeholder("steps", TensorType(INT64, ()))
            active = placeholder("active", samples.with_dtype(BOOL))
            on = self._whole(found.get(body.going, (body.going, False)))
            on = FUNCTIONS["logical_and"](active, on)
            carries, more, going = [total, active], [total + 1, on], FUNCTIONS["any"](on)
            firsts = [constant(0, INT64), steps > 0]
        before = [images[t] for t in body.carries]
        after = [self._whole(found.get(t, (t, False))) for t in body.following]
        pairs = zip(after, before, strict=True)
        following = [*more, *(_masked(active, new, old) for new, old in pairs)]
        values = {}
        for n, t in self.values.items():
            value = self._whole(found.get(t, (t, False)))
            values[n] = _masked(active, value, zeros(value.type))
        shift = len(carries)
        new_body = Body([*carries, *before], slices, captured, following, [*values.values()], going)
        most = FUNCTIONS["max"](steps)
        firsts += self._operands(body.carries, own_flags)
        new = op.replaced(body=new_body)
        out = apply(new, *firsts, *sequences, *outside, most)
        results: dict[int, Sample] = {
            k: (result(out, k + shift), True) for k in range(len(body.carries))
        }
        for number_, value in values.items():
            results[number_] = FUNCTIONS["moveaxis"](new.stacked(out, value), 1, 0), True
        return results


def _masked(active: Tensor, new: Tensor, old: Tensor) -> Tensor:
    """Return samples that are ``new`` where they are active."""
    chosen: Tensor = FUNCTIONS["where"](behind(active, new.ndim - 1), new, old)
    return chosen
