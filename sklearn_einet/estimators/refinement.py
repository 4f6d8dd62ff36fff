"""Joint EM of all components of a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sklearn_einet.circuit import Circuit
from sklearn_einet.circuit.transforms.mixture import component_circuits
from sklearn_einet.estimators.components import Clusters
from sklearn_einet.estimators.progress import Report
from sklearn_einet.estimators.settings import Settings
from sklearn_einet.estimators.training import Start, Training

__all__ = ["refined"]


def refined(
    estimator: Any,
    report: Report,
    clusters: Clusters,
    circuit: Circuit,
    component: np.ndarray,
    components: Sequence[Any],
    random_state: np.random.RandomState,
) -> tuple[Circuit, np.ndarray]:
    """Train the whole mixture, and update the components.

    Parameters
    ----------
    estimator : EinetMixture
        Whose parameters say how.
    report : Report
    clusters : Clusters
        The rows, which are no longer bound to their clusters.
    circuit : Circuit
        The mixture of the components.
    component : ndarray of int
        The component of each partition of its root.
    components : sequence of EinetDensity
        Changed in place.
    random_state : RandomState

    Returns
    -------
    circuit : Circuit
    log_likelihoods : ndarray of shape (n_epochs,)
        Of the training rows.
    """
    solver = "em" if estimator.solver == "em" else "sem"
    own = replace(report.of_part("refinement"), limit="refine_iter")
    settings = Settings.of(estimator, solver=solver, max_iter=estimator.refine_iter, report=own)
    graph, split = circuit.region_graph, clusters.split
    start = Start(clusters.schema, clusters.encoding, graph, circuit, split)
    training = Training(settings, start, clusters.table, random_state)
    history = training.run(n_epochs=max(each.n_iter_ for each in components))
    circuit = history.circuit.to(history.circuit.device)
    for each, part in zip(components, component_circuits(circuit, component), strict=True):
        each.table_density_ = replace(each.table_density_, circuit=part)
        if settings.solver != "em":
            each._n_epochs += len(history.log_likelihoods)
    return circuit, training.units.attributes(history)["log_likelihoods_"]
