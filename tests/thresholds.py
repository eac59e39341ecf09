"""The register of thresholds: every number of graphc that decides by size, count, cache or threads.

A fast path beyond a threshold is code that ordinary tests may never run. So each number that takes
part in a decision stands here: with values that bring small tests on either side of it
(:data:`SWEPT`), with the tests whose sizes lie on both sides (:data:`TESTED`), or with the reason
why it is none (:data:`NONE`). ``tests/unit/test_thresholds.py`` finds the numbers and runs both
sides.
"""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import graphc

ROOT = Path(graphc.__file__).parent
MANY = 1 << 60

SWEPT = {
    "codegen/alike.py:FEW": (0, MANY),
    "codegen/columns.py:NARROW_BYTES": (range(1, 1), range(1 << 40, 1 << 41)),
    "codegen/columns.py:_UNROLLED_COST": (0.0, 1e9),
    "codegen/folds.py:DEAR": (0.0, 1e9),
    "codegen/kernel.py:STACK_BYTES": (0, 1 << 20),
    "codegen/loops.py:STREAM_BYTES": (0, MANY),
    "codegen/loops.py:_SHORT": (range(0), range(2, 1000)),
    "codegen/product.py:_OVERFLOWING": (0, MANY),
    "codegen/product.py:_BROAD": (0, MANY),
    "codegen/short.py:_DEAR_TOTALS": (range(0), range(2, 1000)),
    "codegen/short.py:_FLOAT32": (range(0), range(2, 1000)),
    "codegen/short.py:_FLOAT64": (range(0), range(2, 1000)),
    "codegen/short.py:_DEAR_FLOAT64": (range(0), range(2, 1000)),
    "codegen/steps.py:MOST_ELEMENTS": (0, MANY),
    "codegen/steps.py:MOST_CALLS": (0, MANY),
    "collector.py:MANY": (0, MANY),
    "ops/cumulative.py:FEW_LANES": (0, MANY),
    "plan/places.py:NEIGHBOURS": (0, MANY),
    "ops/gather.py:LEAST_BYTES": (0, MANY),
    "ops/pooling.py:TAPS": (0, MANY),
    "print/llvm.py:FEWEST": (1, MANY),
    "print/llvm.py:SMALL": (1, 16),
    "ops/searching.py:_FEW": (0, MANY),
    "ops/stable.py:_LONGEST": (0, MANY),
    "plan/contraction.py:WORTH": (0, MANY),
    "plan/contraction.py:RUN": (0, MANY),
    "passes/fold.py:_LARGEST": (0, MANY),
    "passes/fold.py:_FREE": (0, MANY),
    "passes/matrix_chain.py:_LONGEST": (2, 1000),
    "passes/rules_shape.py:_TERMS": (1, MANY),
    "passes/recompute.py:CHEAP": (0.0, 1e9),
    "passes/recompute.py:DEPTH": (0, 1000),
    "passes/rows.py:FEW": (0, MANY),
    "passes/rewrite.py:_ROUNDS": (1, 1000),
    "passes/rewrite.py:_TURNS": (1, 1000),
    "plan/cost.py:DEAR": (0.0, 1e9),
    "plan/cost.py:LANES": (0, MANY),
    "plan/cost.py:WAITING": (0.0, 1e6),
    "plan/division.py:CHUNK": (2, MANY),
    "plan/division.py:COLUMNS": (1, MANY),
    "plan/division.py:EXACT_ROWS": (1, MANY),
    "plan/fusion.py:MAX_NODES": (1, MANY),
    "plan/fusion.py:CHEAP": (0.0, 1e9),
    "plan/group.py:SERIAL": (0, MANY),
    "plan/memory.py:ROOMY": (0, MANY),
    "plan/memory.py:GENEROUS": (0.0, 1e9),
    "run/batches.py:KEPT_BYTES": (0, MANY),
    "run/batches.py:AHEAD": (1, MANY),
    "run/executable.py:LARGE": (1, MANY),
    "schedule/ownership.py:LEAST_BYTES": (0, MANY),
    "schedule/ownership.py:SMALLER": (0, MANY),
    "schedule/ownership.py:SHORTEST": (1, MANY),
    "schedule/levels.py:MEETINGS": (0.0, 1e12),
    "schedule/levels.py:WINDOW": (256, 1 << 14),
    "run/table.py:WORTH_SCHEDULING": (0.0, 1e12),
    "run/frame.py:UNROLLED": (1, MANY),
    "schedule/loops.py:EXPECTED": (0, MANY),
}
"""Numbers that are looked up as they are needed, each with a value for either side."""

_GEMM = "unit/test_gemm.py::"
_CONTRACTIONS = "unit/test_contractions.py::test_every_way_gives_the_sum"
_PRODUCTS = "unit/test_thresholds.py::test_products_on_both_sides_of_the_sizes_of_tiles"
_ROWS = "unit/test_reductions.py::test_every_row_counts_once"
_SHORT = "unit/test_short_rows.py::"
_THREADS = "e2e/test_threads.py::"
_ATTENTION = "unit/test_attention.py::"

TESTED = {
    "types.py:NOMINAL_BATCH": (
        "unit/test_table_rows.py::test_tables_smaller_than_their_lookups_stay_whole"
    ),
    "codegen/columns.py:_ROWS": _ROWS,
    "kernel/code.py:MAX_LOOPS": (
        "unit/test_shape_limits.py::test_a_nest_of_loops_too_deep_for_python_says_so"
    ),
    "codegen/loops.py:BLOCK": "unit/test_reductions.py::test_every_element_counts_once",
    "codegen/loops.py:STREAM_BLOCK": "unit/test_stream.py::test_every_element_is_written",
    "print/llvm.py:WRITTEN_OUT": (
        "unit/test_cross_compiled.py::test_loops_of_few_steps_have_vectors"
    ),
    "machine/record.py:LINE": _SHORT + "test_random_rows",
    "nn/losses/vocabulary.py:CHUNK": "unit/test_vocabulary.py::test_values_and_gradients",
    "ops/attention_loops.py:_ROOMY": _ATTENTION + "test_wide_heads_are_a_formula",
    "ops/attention_loops.py:MOST": _ATTENTION + "test_wide_heads_are_a_formula",
    "emit/shape.py:DEPTH": _GEMM + "test_pieces_for_the_caches",
    "run/pace.py:TRIAL_SECONDS": "unit/test_runtime_pace.py::test_what_is_faster_is_taken",
    "run/pace.py:PERIOD_SECONDS": (
        "unit/test_runtime_pace.py::test_trials_that_promise_too_much_become_rare"
    ),
    "run/pace.py:PENALTY_SECONDS": (
        "unit/test_runtime_pace.py::test_trials_that_promise_too_much_become_rare"
    ),
    "run/pace.py:ADVANTAGE": "unit/test_runtime_pace.py::test_what_is_faster_is_taken",
    "run/walk.py:PATIENCE": _THREADS + "test_four_threads_on_one_processor_finish",
    "run/walk.py:_GRAIN": _THREADS + "test_python_threads_share_a_function",
    "emit/rows.py:_PIECE": _SHORT + "test_rows_are_turned_and_turned_back",
    "schedule/levels.py:BLOCK": (
        "unit/test_runtime_schedule.py::test_rows_that_overflow_the_cache_are_cut_into_blocks"
    ),
    "run/sizes.py:MOST_BYTES": "unit/test_sizes.py::test_what_no_memory_holds_is_named",
    "run/sizes.py:COUNTABLE": "unit/test_sizes.py::test_what_no_memory_holds_is_named",
    "emit/tiles/blocks.py:GROUP": _PRODUCTS,
    "emit/tiles/blocks.py:LONG": _PRODUCTS,
    "emit/tiles/driver.py:MANY": _PRODUCTS,
    "emit/tiles/driver.py:BROAD": _PRODUCTS,
    "emit/tiles/driver.py:SHORT": _PRODUCTS,
    "emit/tiles/dots.py:PLACES": _CONTRACTIONS,
    "emit/tiles/matvec.py:SUMS": _GEMM + "test_matrix_times_vector",
    "emit/tiles/matvec.py:COLUMNS": _GEMM + "test_matrix_times_vector",
    "emit/shape.py:VECTORS": _GEMM + "test_tiles_fill_the_registers",
    "types.py:MAX_RANK": (
        "unit/test_shape_limits.py::test_more_dimensions_than_numpy_has_are_a_matter_of_shape"
    ),
}
"""Numbers that are part of compiled code or of a limit: the test with sizes on both sides."""

_TRIED = "unit/test_machine.py::test_no_bit_and_no_text_depends_on_what_was_tried"
_CROSS = "unit/test_cross_compiled.py::test_elementary_functions"

MACHINE = {
    "plan/cost.py:nanoseconds": _TRIED,
    "plan/memory.py:plan_arena": (
        "unit/test_plan_memory.py::test_levels_are_kept_apart_unless_the_arena_grows_too_much"
    ),
    "schedule/epoch.py:gathering": _TRIED,
    "print/llvm.py:finish": _CROSS,
    "print/llvm.py:_mark": "unit/test_lanes.py::test_a_few_channels_are_one_vector_with_a_mask",
    "schedule/ownership.py:_in_pieces": _TRIED,
    "schedule/levels.py:by_levels": _TRIED,
    "emit/shape.py:piece": _GEMM + "test_matrix_times_vector",
    "run/table.py:arranged": _TRIED,
    "run/table.py:_without_loops": _TRIED,
    "schedule/loops.py:_is_shared": _TRIED,
    "schedule/loops.py:own_rows": _TRIED,
    "emit/vmath/trace.py:fused": _CROSS,
    "emit/vmath/variants.py:call_guarded": _CROSS,
    "emit/vmath/variants.py:has_wide": _CROSS,
    "run/batches.py:_bind": _THREADS + "test_results_do_not_depend_on_the_number_of_threads",
    "run/batches.py:_schedule": _THREADS + "test_results_do_not_depend_on_the_number_of_threads",
    "run/batches.py:described": "unit/test_timetable.py::test_every_record_is_there_in_order",
    "run/batches.py:table": _THREADS + "test_results_do_not_depend_on_the_number_of_threads",
    "schedule/levels.py:_block": "unit/test_runtime_schedule.py::"
    "test_blocks_and_threads_do_not_change_a_bit",
    "emit/shape.py:broad": _GEMM + "test_tiles_fill_the_registers",
    "emit/shape.py:large": _GEMM + "test_pieces_for_the_caches",
    "emit/shape.py:rows": _GEMM + "test_pieces_for_the_caches",
    "build/loader.py:_machine": None,  # a part of the cache's key
}
"""Functions that ask for the machine or the threads, with the test that runs several of either."""

NONE = {
    **dict.fromkeys(
        (f"schedule/levels.py:{bit}" for bit in ("CHAIN", "CHECK", "SPLIT", "START", "TURN")),
        "a bit that says what a record is",
    ),
    "ops/scan.py:UNBOUNDED": "more steps than a loop can take",
    "ops/scan.py:_PATIENCE": "steps after which the interpreter gives up a loop without bound",
    "ops/cumulative.py:_AHEAD": "a price of the cost model, which decides no value",
    "machine/loops.py:CHAINS": "instructions of a trial, which decides no value",
    "machine/trial.py:_MOVED": "bytes of a trial",
    "machine/loops.py:_SUMS": "instructions of a trial, which decides no value",
    "machine/trial.py:_LARGEST": "bytes of a trial",
    "train/scores.py:_ROWS": "rows on which ops are tried",
    "codegen/kernel.py:DIGITS": "digits of a digest in a name; clashes are told apart",
    "codegen/loops.py:_NAMED": "words in the name of a kernel",
    "codegen/merge.py:PADDING": "elements to which neighbours are aligned",
    "codegen/module.py:_WIDTH": "columns of text",
    "convert.py:_SHOWN": "characters of a message",
    "convert.py:_UNSIGNED": "a bound on values, not on sizes",
    "demo.py:TRAINED_ON": "rows of the demonstration",
    "ir/source.py:ALIGNMENT": "bytes to which memory is aligned",
    "ops/random.py:LOW": "the bits of a word",
    "ops/selection.py:WIDEST": "a bound on values; what lies beyond is refused",
    "plan/memory.py:ALIGNMENT": "bytes to which memory is aligned",
    "run/executable.py:CONTROL_SECONDS": "an aim for the time between two returns",
    "emit/kernel.py:DIGITS": "digits of a digest in a name",
    "run/replay.py:ARRIVED": "the place of a word",
    "run/replay.py:AWAKE": "the place of a word",
    "run/replay.py:JOB": "the place of a word",
    "run/replay.py:SEEN": "the place of a word",
    "print/c.py:_WIDTH": "columns of a line of text",
    "config.py:_MOST_THREADS": "the most that a user may ask for; more is refused",
    "train/scores.py:_LARGEST": "beyond, history has means of batches; the text of docs says so",
    "nn/losses/sequences.py:_NEVER": "a bound on values, not on sizes",
    "ops/stable.py:_DEEPEST": "beyond, the formula stays as it is written",
    "train/checkpoint.py:_DIGITS": "digits of a number in a file; longer ones are refused",
}
"""Why a number is no threshold."""

NO_SIZES = {
    "ops/matrix_exp.py": "a bound on values: test_linalg has norms on either side",
    "ops/spectral.py": "a bound on values",
    "ops/limits.py": "a bound on values: test_special has points on either side",
    "ops/special.py": "bounds on values: test_special has points on either side",
    "viz": "drawing",
    "emit/vmath": "bounds on values: test_vmath runs all exponents",
    "nn/init.py": "an argument of an initialiser",
}
"""Parts whose numbers decide about no size."""


@cache
def trees() -> dict[str, ast.Module]:
    """Return the modules of graphc by their paths, as syntax trees."""
    paths = sorted(ROOT.rglob("*.py"))
    return {p.relative_to(ROOT).as_posix(): ast.parse(p.read_text()) for p in paths}


def _is_number(node: ast.AST, known: set[str]) -> bool:
    """Tell whether an expression is made of numbers: ``1 << 16``, ``range(9, 41)``."""
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float)) and not isinstance(node.value, bool)
    if isinstance(node, ast.Name):
        return node.id in known
    if isinstance(node, ast.Attribute):  # what the record of a machine says
        return ast.unparse(node).startswith("TYPICAL.")
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id in ("range", "frozenset")
        return named and all(_is_number(a, known) for a in node.args)
    parts = [n for n in ast.iter_child_nodes(node) if isinstance(n, ast.expr)]
    kinds = (ast.BinOp, ast.UnaryOp, ast.Tuple, ast.Set, ast.List, ast.Starred)
    return isinstance(node, kinds) and bool(parts) and all(_is_number(p, known) for p in parts)


def _numbers(tree: ast.Module) -> set[str]:
    """Return the names in capitals that a module gives to numbers."""
    found: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Assign):
            target, value = statement.targets[0], statement.value
        elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
            target, value = statement.target, statement.value
        else:
            continue
        if isinstance(target, ast.Name) and target.id.isupper() and _is_number(value, found):
            found.add(target.id)
    return found


def _deciding(tree: ast.Module) -> set[str]:
    """Return the names that take part in a decision: comparisons, bounds, roundings, slices."""
    found = set()
    for node in ast.walk(tree):
        parts: list[ast.expr | None] = []
        if isinstance(node, ast.Compare):
            parts = [node.left, *node.comparators]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            parts = list(node.args) if node.func.id in ("min", "max", "range") else []
        elif isinstance(node, (ast.If, ast.While, ast.IfExp)):
            parts = [node.test]
        elif isinstance(node, ast.BinOp) and isinstance(node.op, (ast.FloorDiv, ast.Mod)):
            parts = [node.right]
        elif isinstance(node, ast.Slice):
            parts = [node.lower, node.upper, node.step]
        names = (n for p in parts if p is not None for n in ast.walk(p))
        found |= {n.id for n in names if isinstance(n, ast.Name)}
    return found


def users(path: str, name: str) -> list[str]:
    """Return the modules that know the number ``name`` of ``path``: its own, and importers."""
    module = "graphc." + path.removesuffix(".py").replace("/", ".")
    found = [path]
    for other, tree in trees().items():
        imports = (n for n in tree.body if isinstance(n, ast.ImportFrom) and n.module == module)
        if any(a.name == name for n in imports for a in n.names):
            found.append(other)
    return found


def found_thresholds() -> set[str]:
    """Return ``path:name`` of all numbers with a name that take part in a decision."""
    return {
        f"{path}:{name}"
        for path, tree in trees().items()
        if not path.startswith(tuple(NO_SIZES))
        for name in _numbers(tree)
        if any(name in _deciding(trees()[user]) for user in users(path, name))
    }


def nameless() -> set[str]:
    """Return comparisons of a length with a number that has no name: ``len(x) > 20``."""
    return {
        f"{path}: {ast.unparse(node)}"
        for path, tree in trees().items()
        if not path.startswith(tuple(NO_SIZES))
        for node in ast.walk(tree)
        if isinstance(node, ast.Compare)
        for side in (node.left, *node.comparators)
        if isinstance(side, ast.Constant) and type(side.value) is int and abs(side.value) > 4
    }


def put(monkeypatch, threshold: str, value: object) -> None:
    """Give a number another value wherever it is known."""
    path, name = threshold.split(":")
    for user in users(path, name):
        module = importlib.import_module("graphc." + user.removesuffix(".py").replace("/", "."))
        monkeypatch.setattr(module, name, value)


def found_machine() -> set[str]:
    """Return ``path:function`` of all that ask for the machine or the number of threads."""
    asked = {"known", "this", "thread_count"}
    return {
        f"{path}:{function.name}"
        for path, tree in trees().items()
        if not path.startswith(("machine/", "__main__"))
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef)
        for call in ast.walk(function)
        if isinstance(call, ast.Call)
        and getattr(call.func, "id", getattr(call.func, "attr", "")) in asked
    }
