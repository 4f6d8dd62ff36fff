"""The fit of one circuit, from a start to the attributes of an estimator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Self

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.leaves.groups import threads_of_leaves
from sklearn_einet.circuit.transforms.widening import widened
from sklearn_einet.estimators.joint_part import (
    JointStart,
    has_joint_part,
    joined,
)
from sklearn_einet.estimators.progress import Units
from sklearn_einet.estimators.recipe import (
    continued_circuit,
    make_solver,
    new_circuit,
    new_region_graph,
    said_of,
    split_rows,
    stochastic_em,
    training_rows,
)
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.thresholds import with_later_threshold, with_threshold
from sklearn_einet.estimators.trimming import (
    LATER_TRIM,
    OUTER_BANDWIDTH,
    typical_weight,
    with_core,
    with_tail,
)
from sklearn_einet.learning import History, fit_circuit, last_steps, mean_log_likelihood
from sklearn_einet.model.table_density import TableDensity
from sklearn_einet.structure import RegionGraph
from sklearn_einet.structure.joint_regions import joined_graph
from sklearn_einet.tables.encoding import Encoding
from sklearn_einet.tables.schema import Schema
from sklearn_einet.tables.split import Split
from sklearn_einet.tables.table import Table

__all__ = ["Start", "Training", "begun"]

# A part of a model has been learned after this many epochs without a gain: its last gains are
# negligible for the whole model.
IDLE_EPOCHS_OF_PART = 2

# Returns whether a fit should end, given its history so far, and a function that returns its
# history if it ends here.
AfterEpoch = Callable[[History, Callable[[], History]], bool]


@dataclass(frozen=True)
class Start:
    """The starting point of a fit.

    Attributes
    ----------
    schema : Schema
    encoding : Encoding
    graph : RegionGraph
        The structure that the user will see.
    circuit : Circuit
    split : Split
        The rows to train on, and those to hold out.
    tail : float, default=0.0
        Share of the model that a wide density gets at the end.
    core : Circuit or None, default=None
        A density of the most typical rows, mixed with the model at the end.
    joint : JointStart or None, default=None
        The circuit's joint densities, learned before everything else and kept until the last step.
        None also if full EM learns them together with the rest.
    beside : Circuit or None, default=None
        Another part of the model, already learned.
    """

    schema: Schema
    encoding: Encoding
    graph: RegionGraph
    circuit: Circuit
    split: Split
    tail: float = 0.0
    core: Circuit | None = None
    joint: JointStart | None = None
    beside: Circuit | None = None

    @property
    def learns(self) -> bool:
        """Whether the joint densities leave anything to learn."""
        return self.joint is None or len(self.joint.group.columns) < self.graph.n_features

    @property
    def has_parts(self) -> bool:
        """Whether parts of the model are learned one after another, and then weighted."""
        return self.joint is not None or self.beside is not None


class Training:
    """The rows of a fit, and what it starts from.

    Parameters
    ----------
    settings : Settings
    start : Start
    table : Table
    random_state : RandomState
        Source of the order of minibatches.
    held_out : ndarray of int or None, default=None
        The rows of the table that p-values are computed from, including trimmed ones.
    """

    def __init__(
        self,
        settings: Settings,
        start: Start,
        table: Table,
        random_state: np.random.RandomState,
        held_out: np.ndarray | None = None,
    ) -> None:
        self.settings = settings
        self.start = start
        self.table = table
        self.rows, self._held_out_rows = training_rows(
            start.schema, start.circuit, table, start.split, random_state
        )
        self._held_out = held_out
        self.units = Units(start.schema, self.rows, self._held_out_rows)

    @classmethod
    def continued(
        cls,
        settings: Settings,
        density: TableDensity,
        graph: RegionGraph,
        table: Table,
        random_state: np.random.RandomState,
    ) -> Self:
        """Continue from a fitted model; with trim, without the rows least typical under it."""
        settings = settings.of_fitted(density.circuit.K)
        split = split_rows(settings, len(table), random_state)
        settings.report.say(f"continuing the last fit: {said_of(settings, table, split)}")
        circuit = continued_circuit(settings, density, table)
        schema = density.schema.widened(table)
        own = split
        if settings.trim:
            scores, share = density.comparable_scores(table), settings.trimmed_share(LATER_TRIM)
            own = split.with_weight(typical_weight(scores, share, table))
        start = Start(schema, density.encoding, graph, circuit, own)
        return cls(settings, start, table, random_state, split.held_out)

    @classmethod
    def of_part(
        cls,
        settings: Settings,
        schema: Schema,
        encoding: Encoding,
        graph: RegionGraph,
        table: Table,
        split: Split,
        seed: int,
    ) -> Self:
        """Prepare the fit of a part of a model, such as a component of a mixture."""
        random_state = np.random.RandomState(seed)
        start = begun(settings, schema, encoding, graph, table, split, random_state)
        return cls(settings, start, table, random_state)

    @property
    def max_iter(self) -> int:
        """Largest number of epochs."""
        return self.settings.max_iter_of(len(self.rows))

    def run(
        self,
        after_epoch: AfterEpoch | None = None,
        n_epochs: int = 0,
        learn_held_out: bool = False,
    ) -> History:
        """Train until the log-likelihood no longer grows.

        Parameters
        ----------
        after_epoch : callable or None, default=None
        n_epochs : int, default=0
            Number of earlier epochs.
        learn_held_out : bool, default=False
            As in `fit_circuit`.
        """
        settings = self.settings

        def reported(history: History, ended: Callable[[], History]) -> bool:
            attributes, width = partial(self.units.attributes, history), len(str(self.max_iter))
            settings.report.epoch(len(history.log_likelihoods), attributes, width)
            with settings.report.muted():
                return after_epoch is not None and after_epoch(history, lambda: whole(ended()))

        def over(history: History, n_steps: int = 0) -> None:
            settings.report.epochs_are_over(self.why_it_ended(history), n_steps)

        def whole(history: History) -> History:
            return self._with_last_step(self._whole(history), learn_held_out)

        if self.start.joint is not None:
            self.start.joint.group.frozen = True
        with threads_of_leaves(self.start.circuit.leaf_groups):
            if not self.start.learns:
                history = self._without_epochs(reported)
                over(history)
                return whole(history)
            history = fit_circuit(
                self.start.circuit,
                make_solver(settings, self.rows, n_epochs),
                self.rows,
                self._held_out_rows,
                max_iter=self.max_iter,
                tol=settings.tol,
                n_iter_no_change=settings.n_iter_no_change,
                after_epoch=reported,
                after_epochs=over,
                # Rows that determine the weights of parts are learned from at the end.
                learn_held_out=learn_held_out and not self.start.has_parts,
                beside=self.start.beside,
                settles=not settings.is_brief,
            )
            return whole(history)

    def why_it_ended(self, history: History) -> str:
        """Return why there were no more epochs, for the user."""
        settings = self.settings
        return settings.report.why_it_ended(history, self.max_iter, settings.is_brief)

    def _without_epochs(self, after_epoch: AfterEpoch) -> History:
        """Return the history of a circuit that has already been learned."""
        circuit, held_out = self.start.circuit, self._held_out_rows
        history = History(circuit, [mean_log_likelihood(circuit, self.rows)], converged=True)
        if held_out is not None:
            history.validation_log_likelihoods.append(mean_log_likelihood(circuit, held_out))
        history.stopped = bool(after_epoch(history, lambda: history))
        return history

    def _whole(self, history: History) -> History:
        """Return a history with the circuit of the whole model."""
        start, circuit = self.start, history.circuit
        if start.joint is not None:
            circuit = start.joint.restored(circuit)
        if start.beside is not None:
            self.settings.report.say_rarely("weighing both parts of the model")
            rows = start.schema, self.table, start.split.held_out
            circuit = joined(start.beside, circuit, *rows)
        return replace(history, circuit=circuit)

    def _with_last_step(self, history: History, learn_held_out: bool) -> History:
        """Return a history with a step of full EM for all parts of the model together, unless it
        makes held-out rows less likely."""
        if not self.start.has_parts:
            return history
        self.settings.report.say_rarely("making the last step")
        circuit = history.circuit.to(history.circuit.device)
        for group in circuit.joint_groups:
            group.frozen = False
        solver = make_solver(self.settings, self.rows)
        rows = self.rows, self._held_out_rows
        last, calibration = last_steps(circuit, solver, *rows, learn_held_out)
        return replace(history, circuit=last, calibration=calibration)

    @property
    def _graph(self) -> RegionGraph:
        """The structure of the whole model."""
        graph, beside = self.start.graph, self.start.beside
        if beside is None:
            return graph
        return joined_graph([beside.region_graph, graph])

    def pass_once(
        self, stochastic: Settings, n_rows_before: float, n_epochs_before: int
    ) -> tuple[History, dict[str, Any]]:
        """Pass over the rows once by stochastic EM.

        Returns
        -------
        history : History
        seen : dict
            The attributes of an estimator that count rows and epochs.
        """
        n_rows = self.rows.total_weight + n_rows_before
        solver = stochastic_em(stochastic, len(self.rows), n_rows, n_epochs_before)
        circuit = self.start.circuit
        history = self._whole(History(circuit, [solver.epoch(circuit, self.rows)]))
        return history, {"_n_rows": n_rows, "_n_epochs": solver.n_epochs}

    def learned(self, history: History) -> dict[str, Any]:
        """Return the attributes of an estimator whose fit ended here, except the threshold."""
        return {
            "table_density_": self._density(history.circuit),
            "region_graph_": self._graph,
            "_n_rows": self.rows.total_weight,
            "_n_epochs": len(history.log_likelihoods) if self.settings.solver == "sem" else 0,
            "n_iter_": len(history.log_likelihoods),
            "converged_": history.converged,
            **self.units.attributes(history),
        }

    def fitted(self, history: History) -> dict[str, Any]:
        """Return all attributes of an estimator whose fit ended here."""
        self.settings.report.say_rarely("setting the outlier threshold")
        calibration, contamination = history.calibration, self.settings.contamination
        history = replace(history, circuit=self._robust(history.circuit))
        if calibration is not None:
            calibration = self._robust(calibration)
        learned = self.learned(history)
        return with_threshold(learned, self.table, contamination, self._held_out, calibration)

    def _robust(self, circuit: Circuit) -> Circuit:
        """Return a trained circuit, smoothed, with the densities that rank rows unlike its own."""
        core, bandwidth = self.start.core, self.settings.bandwidth
        if core is not None:
            circuit = _smooth(circuit, OUTER_BANDWIDTH * bandwidth)
            return with_core(_smooth(core, bandwidth), circuit)
        circuit = _smooth(circuit, bandwidth)
        return with_tail(circuit, self.start.tail) if self.start.tail else circuit

    def fitted_for_now(self, history: History) -> dict[str, Any]:
        """Return the attributes of an estimator that may soon learn from other rows."""
        contamination = self.settings.contamination
        return with_later_threshold(self.learned(history), self.table, contamination)

    def _density(self, circuit: Circuit) -> TableDensity:
        """Return the density of a trained circuit.

        Raises
        ------
        ValueError
            If its parameters are not finite.
        """
        circuit = circuit.to(circuit.device)  # solvers continue to write into their circuit
        for group in circuit.joint_groups:
            group.frozen = False
        if not circuit.is_finite():
            raise ValueError(
                "The parameters are no longer finite. Check X for extreme values, lower "
                "step_size, or raise min_variance."
            )
        return TableDensity(circuit, self.start.schema, self.start.encoding)


def _smooth(circuit: Circuit, bandwidth: float) -> Circuit:
    return widened(circuit, bandwidth) if bandwidth else circuit


def begun(
    settings: Settings,
    schema: Schema,
    encoding: Encoding,
    graph: RegionGraph,
    table: Table,
    split: Split,
    random_state: np.random.RandomState,
) -> Start:
    """Return a circuit with a structure and initial parameters, and the parts learned before it."""
    settings.report.say(f"initialising {len(graph.regions)} groups of columns, K={settings.K}")
    circuit = new_circuit(settings, schema, graph, table, random_state)
    start = Start(schema, encoding, graph, circuit, split)
    if circuit.joint_groups:
        joint = JointStart.of(settings, schema, circuit, table, split, random_state)
        return replace(start, joint=joint) if settings.solver == "sem" else start
    if has_joint_part(settings, schema):
        n_idle = min(settings.n_iter_no_change, IDLE_EPOCHS_OF_PART)
        report = settings.report.of_part("joint normal part")
        part = replace(settings, structure="joint-normal", report=report, n_iter_no_change=n_idle)
        seed = random_state.randint(2**31)
        graph = new_region_graph(part, schema, table, split, random_state)
        training = Training.of_part(part, schema, encoding, graph, table, split, seed)
        return replace(start, beside=training.run().circuit)
    return start
