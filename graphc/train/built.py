"""How a model is built: its graphs, and the code and memory they get when first needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from graphc import forks
from graphc.cached import cached_property, made_once
from graphc.collector import paused
from graphc.ir.graph import Graph, ancestors
from graphc.ir.naming import parameter_names
from graphc.ir.source import Cell, Parameter
from graphc.ir.tensor import Tensor
from graphc.lazy import lazy_module
from graphc.nn.training import inference_form
from graphc.ops.draws import advanced, counts_steps, new_clock, settled
from graphc.ops.state import learned_state, state_updates
from graphc.optim.optimizer import Optimizer, cell_of
from graphc.sealed import Sealed
from graphc.train.declaration import (
    check_distinct,
    check_names,
    checked_loss,
    checked_metrics,
    checked_optimizer,
    checked_updates,
    gradients_of,
    named_outputs,
    trained_parameters,
    wrong,
)
from graphc.train.feeds import Structure, whole_number
from graphc.train.inference import Inference
from graphc.train.loop import History
from graphc.train.scores import (
    Score,
    added_in_epochs,
    as_added,
    batch_outputs,
    named_sums,
    taken_apart,
)
from graphc.tree import tree_leaves

if TYPE_CHECKING:
    from graphc import compile as compiler
    from graphc.run.executable import Executable
    from graphc.run.report import Report
else:
    compiler = lazy_module("graphc.compile")

INITIAL, SHUFFLE = 1, 2  # streams of random numbers under one seed

_DERIVED = ("_inputs", "_targets", "_slots", "_running", "_making")
"""What follows from the declarations, or belongs to a fit that goes on."""


class Built(Sealed):
    """The declarations of a model, their graphs, and what is compiled of them.

    The parameters of ``__init__`` are described in :class:`graphc.train.model.Model`.
    """

    history: History
    """That of the latest :meth:`fit`, also of one that was interrupted."""

    def __init__(
        self,
        *,
        inputs: Any,
        outputs: Any,
        targets: Any = None,
        loss: Tensor,
        metrics: Mapping[str, Tensor] | None = None,
        optimizer: Optimizer | None = None,
        trainable: Any = None,
        updates: Mapping[Tensor, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.inputs, self.targets, self.outputs = inputs, targets, outputs
        self.loss = checked_loss(loss)
        self.metrics = checked_metrics(metrics)
        self.optimizer = checked_optimizer(optimizer)
        self.seed = whole_number("Model: seed", seed, 0)
        self.history = History()
        self.stop_training = False
        self._running: History | None = None
        self._making = forks.lock()
        self.epochs = 0
        """Epochs finished so far, over all fits: they decide the order of shuffled rows."""
        self._inputs = Structure("input", inputs)
        self._targets = Structure("target", targets)
        self._slots = (*self._inputs.slots, *self._targets.slots)
        check_distinct(slot.tensor for slot in self._slots)
        self._named_outputs = dict(named_outputs("output", outputs))
        self._rows_of = next((i for i, slot in enumerate(self._slots) if slot.batched), None)
        """Number of a slot whose array tells how many rows there are."""
        self._scores = {"loss": self.loss, **self.metrics}
        check_names(self.metrics, self._named_outputs)
        self._updates = checked_updates(updates, self.optimizer)
        self._clock = self._settle()
        needed = ancestors([*self._named_outputs.values(), *self._scores.values(),
                            *self._updates, *self._updates.values()])  # fmt: skip
        self._names = parameter_names(
            t for t in needed if isinstance(t.op, Parameter) and t is not self._clock
        )
        loss = self._scores["loss"]
        self._trained = trained_parameters(trainable, self._names, loss, self._updates)
        with paused():
            self._gradients = gradients_of(loss, self._trained, self._names)
            self.graph = self._training_graph()

    def fixed(self, name: str) -> str | None:
        if name in ("stop_training", "epochs") or name.startswith("_"):
            return None
        return "a model is compiled from what it was made of; make another gx.Model"

    def __copy__(self) -> Self:
        """Return another model of the same parameters and compiled code."""
        twin = object.__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Copy and pickle declarations, values and the optimiser's state, not what is compiled.

        The nodes stand first, in topological order: nothing recurses, however deep they go.
        """
        self._allocated({**self._cells, **self._state})
        made = {n for n, kind in vars(Built).items() if isinstance(kind, cached_property)}
        state = {n: v for n, v in self.__dict__.items() if n not in made and n not in _DERIVED}
        roots = [*self.graph.nodes, self.loss, *self.metrics.values(), *self._inputs.tensors,
                 *self._targets.tensors, *tree_leaves(self.outputs), *self._names, *self._gradients,
                 *self._gradients.values(), *self._updates.values()]  # fmt: skip
        return {"_nodes": ancestors(roots), **state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        del state["_nodes"]
        self.__dict__.update(state)
        self._inputs = Structure("input", self.inputs)
        self._targets = Structure("target", self.targets)
        self._slots = (*self._inputs.slots, *self._targets.slots)
        self._running = None
        self._making = forks.lock()

    # -- looking inside ------------------------------------------------------------------------

    @property
    def optimized_graph(self) -> Graph:
        """The training graph after the passes."""
        return self._training.optimized_graph

    @property
    def source(self) -> str:
        """The generated module: ``forward``, ``backward``, ``train_step``, ``train_epoch``."""
        return self._training.source

    @property
    def c_source(self) -> str:
        """The generated kernels as C11, for programs of your own; of those by hand, the names."""
        return self._training.c_source

    @property
    def source_path(self) -> Path:
        """File of the generated module."""
        return self._training.source_path

    @property
    def kernel_texts(self) -> dict[str, str]:
        """For each node of :attr:`graph`, by its key, the text of the kernel that computes it."""
        return self._training.kernel_texts

    @property
    def report(self) -> Report:
        """Bytes, operations, kernels, passes and compile time of the training module."""
        return self._training.report

    # -- how it is built -----------------------------------------------------------------------

    def _settle(self) -> Tensor | None:
        """Settle the random draws; return the clock that moves them, if there are any."""
        fed = [slot.tensor for slot in self._slots]
        new = {f"update {i}": value for i, value in enumerate(self._updates.values())}
        declared = Graph(fed, {**self._named_outputs, **self._scores, **new})
        trains = self.optimizer is not None
        clock = new_clock() if trains and counts_steps(declared) else None
        found = settled(declared, clock).outputs
        self._named_outputs = {name: found[name] for name in self._named_outputs}
        self._scores = {name: found[name] for name in self._scores}
        self._updates = dict(zip(self._updates, (found[name] for name in new), strict=True))
        return clock

    def _training_graph(self) -> Graph:
        updates: dict[Tensor, Tensor] = {}
        if self.optimizer is not None:
            if not self._gradients:
                raise wrong(
                    "Model: the loss depends on no trainable parameter, so an optimizer has "
                    "nothing to do"
                )
            names = [self._names[p] for p in self._gradients]
            updates = self.optimizer.updates(
                list(self._gradients), list(self._gradients.values()), names
            )
            updates |= state_updates(
                [*self._scores.values(), *self._named_outputs.values(), *self._updates.values()]
            )
            updates |= self._updates
            if self._clock is not None:
                updates |= advanced(self._clock)
        fed = [slot.tensor for slot in self._slots]
        return Graph(fed, {**self._named_outputs, **self._scores}, updates)

    @made_once
    def _training(self) -> Executable:
        with paused():
            sums = as_added(named_sums(self._summed))
            graph = Graph(self.graph.inputs, {**self.graph.outputs, **sums}, self.graph.updates)
            gradients, names = self._gradients, tuple(sums)
            return self._compiled(graph, gradients=gradients, sums=names, step=True)

    @cached_property
    def _summed(self) -> dict[str, Score]:
        fed = [slot.tensor for slot in self._slots]
        return added_in_epochs(taken_apart(Graph(fed, self._scores), self._batched))

    @property
    def _batched(self) -> list[Tensor]:
        return [slot.tensor for slot in self._slots if slot.batched]

    @cached_property
    def _apart(self) -> dict[str, Score]:
        """The scores of the inference form, as formulas of sums over rows."""
        graph = Graph(self._inference.inputs, {n: self._inference.outputs[n] for n in self._scores})
        return taken_apart(graph, self._batched)

    @cached_property
    def _inference(self) -> Graph:
        fed = [slot.tensor for slot in self._slots]
        return inference_form(Graph(fed, {**self._named_outputs, **self._scores}))

    @made_once
    def _evaluation(self) -> Inference:
        outputs = batch_outputs(self._apart)
        return Inference.of(self._inference.inputs, outputs, self._compiled)

    @made_once
    def _prediction(self) -> Inference:
        found = self._inference.outputs
        outputs = {name: found[name] for name in self._named_outputs}
        return Inference.of(self._inputs.tensors, outputs, self._compiled)

    def _compiled(self, graph: Graph, **options: Any) -> Executable:
        """Compile ``graph`` and give initial values to the parameters that are new in it.

        Each has its own stream of random numbers, so its values do not depend on what else is
        in the graph. Training goes first, because it lays parameters out side by side.
        """
        if self.optimizer is not None and not options.get("step"):
            _ = self._training
        fresh = self._unallocated()
        scalars = [name for name in self._scores if name in graph.outputs]
        executable = compiler.compile_graph(graph, scalars=scalars, **options)
        self._initialize({i: cell for i, cell in fresh.items() if cell.is_allocated})
        return executable

    def _unallocated(self) -> dict[int, Cell]:
        """Return the storage that has no values yet, by the number of its random stream."""
        cells = [*self._cells.values(), *self._state.values()]
        return {i: cell for i, cell in enumerate(cells) if not cell.is_allocated}

    def _initialize(self, cells: Mapping[int, Cell]) -> None:
        for i, cell in cells.items():
            cell.initialize(np.random.default_rng([self.seed, INITIAL, i]))

    @cached_property
    def _cells(self) -> dict[str, Cell]:
        """Storage of the parameters by name: of the inference form, and of state."""
        needed = {*self._inference.parameters, *self._updates}
        return {
            name: cell_of(p)
            for p, name in self._names.items()
            if p in needed or name in self._learned
        }

    @cached_property
    def _learned(self) -> frozenset[str]:
        """The names of what layers learn by themselves in steps of training."""
        roots = [*self._scores.values(), *self._named_outputs.values()]
        return frozenset(self._names[p] for p in learned_state(roots))

    @cached_property
    def _state(self) -> dict[str, Cell]:
        """Storage of what training alone needs, by name: the optimiser's, and random streams."""
        own = set(self._cells.values())
        keys = self.graph.keys
        return {keys[p]: cell_of(p) for p in self.graph.parameters if cell_of(p) not in own}

    def _allocated(self, cells: dict[str, Cell]) -> dict[str, Cell]:
        """Return ``cells`` after each has got its values, where training wants them to lie."""
        if all(cell.is_allocated for cell in cells.values()):
            return cells
        if self.optimizer is None:
            self._initialize(self._unallocated())
        else:
            _ = self._training
        return cells
