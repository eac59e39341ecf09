"""The pipeline: graph, passes, plan, text, machine code."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter

from graphc.codegen.module import EpochPlan, Module, generate
from graphc.codegen.verify import verify
from graphc.collector import paused
from graphc.ir.graph import Graph
from graphc.ir.tensor import PHASES, Tensor
from graphc.passes.bounds import computed_indices
from graphc.passes.pipeline import PassReport, disabled, dump, optimize
from graphc.plan.planner import plan
from graphc.plan.program import BY_PHASE, Program
from graphc.run.executable import Executable
from graphc.run.report import KernelReport, Report
from graphc.types import dim_at


@paused()
def compile_graph(
    graph: Graph,
    *,
    gradients: Mapping[Tensor, Tensor] | None = None,
    scalars: Sequence[str] = (),
    sums: Sequence[str] = (),
    step: bool = False,
) -> Executable:
    """Compile ``graph``.

    With ``step`` the module has ``forward``, ``backward``, ``train_step`` and ``train_epoch``,
    which adds up the outputs named in ``scalars``, times the rows of a batch, and ``sums``, as they
    are; else it has ``call``. ``gradients`` maps parameters to their gradients, which get a flat
    buffer.
    """
    wanted = {f"gradient {i}": g for i, g in enumerate((gradients or {}).values())}
    whole = Graph(graph.inputs, {**graph.outputs, **wanted}, graph.updates)
    bounds = {f"indices {i}": b for i, b in enumerate(computed_indices(whole))}
    hidden = {**wanted, **{name: b.indices for name, b in bounds.items()}}
    if bounds:
        whole = Graph(graph.inputs, {**graph.outputs, **hidden}, graph.updates)
    optimized, reports = optimize(whole)
    passes = list(reports)
    found = {p: optimized.outputs[n] for p, n in zip(gradients or {}, wanted, strict=True)}
    guarded = [(optimized.outputs[name], b) for name, b in bounds.items()]
    start = perf_counter()
    program = plan(optimized, found, guarded, fuse="fuse" not in disabled())
    for name in hidden:
        del program.outputs[name]
    planned = len(program.calls)
    passes.append(PassReport("fuse", len(optimized), planned, _since(start)))
    dump(program, len(passes), "fuse")
    start = perf_counter()
    epoch = EpochPlan(tuple(scalars), tuple(sums)) if step else None
    module = generate(program, graph.scopes, epoch, merge="merge" not in disabled())
    passes.append(PassReport("merge", planned, len(program.calls), _since(start)))
    dump(program, len(passes), "merge")
    dump(module.text, len(passes) + 1, "module")
    program.verify()
    verify(module, program)
    report = _reporter(program, module, tuple(passes))
    return Executable(graph, optimized, program, module, report, scalars, sums, step=step)


def _since(start: float) -> float:
    """Return the milliseconds since ``start``."""
    return (perf_counter() - start) * 1e3


def _reporter(
    program: Program, module: Module, passes: tuple[PassReport, ...]
) -> Callable[[int], Report]:
    """Return the function that gives the report for a batch size."""

    def report(batch: int) -> Report:
        rows = []
        for call, kernel in zip(program.calls, module.calls, strict=True):
            if call.made == BY_PHASE:
                continue
            computes = ", ".join(dict.fromkeys(n.op.name for n in call.nodes))
            rows.append(
                KernelReport(
                    kernel.name,
                    PHASES[call.phase],
                    computes,
                    dim_at(kernel.extent, batch),
                    dim_at(call.flops * call.times, batch),
                    call.nbytes(batch),
                )
            )
        sizes = {
            kind: sum(b.nbytes(batch) for b in program.buffers if b.kind == kind)
            for kind in ("parameter", "gradient")
        }
        return Report(
            batch=batch,
            parameter_bytes=sizes["parameter"],
            gradient_bytes=sizes["gradient"],
            flops=sum(row.flops for row in rows),
            kernels=tuple(rows),
            passes=passes,
        )

    return report
