"""What a compiled program is made of and what it costs, as a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from graphc.passes.pipeline import PassReport
from graphc.sealed import Sealed


@dataclass(frozen=True)
class KernelReport:
    """One kernel call: name, phase, and its cost for the batch of the report."""

    name: str
    phase: str
    computes: str
    extent: int
    flops: int
    bytes: int


@dataclass
class Report(Sealed):
    """Costs known from the program alone, for a batch of ``batch`` rows, and of compilation.

    Bytes and FLOPs are of one execution of everything (for a model: one training step).
    """

    batch: int
    parameter_bytes: int
    gradient_bytes: int
    flops: int
    kernels: tuple[KernelReport, ...]
    passes: tuple[PassReport, ...]
    arena_bytes: int = 0
    cache_hits: int = 0
    cache_misses: int = 0
    compile_seconds: float = 0.0
    schedule: str = ""
    """What runs, in order, as text: on which threads, between which meetings, in which loops."""
    loads: list[tuple[str, str, float]] = field(default_factory=list)
    """(kernel, "memory" | "disk" | "compiled", milliseconds) of each kernel loaded."""

    def fixed(self, name: str) -> str | None:
        return "a report tells what is"

    def __str__(self) -> str:
        """Return tables; equal calls of a kernel stand once, with their number."""
        head = [
            f"batch            {self.batch}",
            f"arena            {self.arena_bytes:,} bytes",
            f"parameters       {self.parameter_bytes:,} bytes",
            f"gradients        {self.gradient_bytes:,} bytes",
            f"operations       {self.flops:,} FLOPs",
            f"compiled in      {self.compile_seconds:.3f} s"
            f" ({self.cache_hits} kernels from the cache, {self.cache_misses} compiled)",
        ]
        kernels = _table(
            ("kernel", "phase", "calls", "extent", "FLOPs", "bytes", "computes"),
            [
                (
                    k.name, k.phase, f"{calls:,}", f"{k.extent:,}", f"{k.flops:,}", f"{k.bytes:,}",
                    k.computes,
                )
                for k, calls in Counter(self.kernels).items()
            ],
        )  # fmt: skip
        passes = _table(
            ("pass", "before", "after", "ms", "hits"),
            [
                (
                    p.name, str(p.before), str(p.after), f"{p.milliseconds:.1f}",
                    ", ".join(f"{n} {c}" for n, c in p.hits.items()),
                )
                for p in self.passes
            ],
        )  # fmt: skip
        loads = _table(("loaded", "from", "ms"), [(n, s, f"{t:.1f}") for n, s, t in self.loads])
        return "\n".join([*head, "", *kernels, "", *passes, "", *loads])


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(r[i]) for r in (head, *rows)) for i in range(len(head))]
    lines = [
        "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip()
        for r in (head, *rows)
    ]
    lines.insert(1, "  ".join("-" * w for w in widths))
    return lines
