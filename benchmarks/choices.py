"""The evidence for the defaults of training: one change at a time, judged by held-out rows.

    python benchmarks/choices.py [--sets plants jester ...]

A hidden Chow-Liu tree with K=32 is fitted to the training rows of a binary set, with early stopping
on a tenth of them; the table shows the mean log-likelihood of the validation rows, in nats, and
the epochs taken. Data softening (A. Liu and G. Van den Broeck, NeurIPS 2021) is soft evidence: a
cell of the training rows has its own value with probability 1 - s only, else that of another row of
its column. At a binary leaf that is the same as a probability between s m and 1 - s + s m, m being
the column's mean, which is stretched to 0 and 1 after training. One thread.
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import torch
from _data import binary_set
from _short import Figure
from sklearn.exceptions import ConvergenceWarning

from sklearn_einet import EinetDensity
from sklearn_einet.circuit import Circuit
from sklearn_einet.learning import expectation_maximization

SETS = ["plants", "jester", "dna", "tretail", "cwebkb"]
DEFAULT = {"structure": "chow-liu", "pseudocount": 0.1}
CHANGES: dict[str, dict[str, Any]] = {
    "none: step 0.3, decay 0.75, pseudocount 0.1": {},
    "constant step 0.05 (paper)": {"step_size": 0.05, "step_decay": 0.0},
    "constant step 0.3": {"step_decay": 0.0},
    "step 0.1": {"step_size": 0.1},
    "decay 0.5": {"step_decay": 0.5},
    "decay 1": {"step_decay": 1.0},
    "stochastic EM, then full EM": {"then": "em"},
    "random start": {"start": "random"},
    "pseudocount 0.01": {"pseudocount": 0.01},
    "pseudocount 1": {"pseudocount": 1.0},
    "pseudocount 5": {"pseudocount": 5.0},
    "no early stopping, 20 epochs": {"early_stopping": False, "max_iter": 20, "tol": 0.0},
    "softening 0.01": {"softness": 0.01},
    "softening 0.05": {"softness": 0.05},
    "Tucker layers, K=10": {"layer": "tucker"},
    "10 random trees, CP": {"structure": "binary-trees"},
    "10 random trees, Tucker, K=10": {"structure": "binary-trees", "layer": "tucker"},
}


def random_start(circuit: Circuit, x: Any, weight: Any, random_state: Any) -> None:
    """Random weights, and leaves at random around their columns' means."""
    for i, (old, axes) in enumerate(zip(circuit.weights, circuit.summed_axes, strict=True)):
        noise = torch.as_tensor(random_state.standard_exponential(tuple(old.shape))).to(old)
        noise = torch.where(old > 0, noise, 0)
        circuit.weights[i] = noise / noise.sum(axes, keepdim=True)
    for group in circuit.leaf_groups:
        uniform = torch.as_tensor(random_state.random_sample(tuple(group.phi.shape)))
        group.phi = 0.7 * group.slot_reference + 0.3 * uniform


def softened(softness: float) -> Callable[..., None]:
    """An M-step that keeps the leaves' probabilities where soft evidence has them."""
    maximize = expectation_maximization.maximize

    def m_step(circuit: Circuit, statistics: Any, pseudocount: float) -> None:
        maximize(circuit, statistics, pseudocount)
        for group in circuit.leaf_groups:
            low = softness * group.slot_reference
            group.phi = torch.minimum(torch.maximum(group.phi, low), low + 1 - softness)

    return m_step


def sharpen(circuit: Circuit, softness: float) -> None:
    """From probabilities of soft evidence to those of the values themselves."""
    for group in circuit.leaf_groups:
        phi = (group.phi - softness * group.slot_reference) / (1 - softness)
        group.phi = phi.clamp(1e-6, 1 - 1e-6)


def validation(name: str, change: dict[str, Any]) -> tuple[float, int]:
    """Mean log-likelihood of the validation rows, and the number of epochs."""
    train, valid, _ = binary_set(name)
    parameters = DEFAULT | change
    softness = parameters.pop("softness", 0.0)
    start, then = parameters.pop("start", None), parameters.pop("then", None)
    model = EinetDensity(**parameters, leaf="bernoulli", random_state=0)
    if then:
        model.set_params(max_iter=5, warm_start=True).fit(train)
        model.set_params(solver=then, max_iter=25, dtype="float32", early_stopping=True)
    with mock.patch.object(expectation_maximization, "maximize", softened(softness)):
        if start == "random":
            with mock.patch("sklearn_einet.estimators.recipe.initialize", random_start):
                model.fit(train)
        else:
            model.fit(train)
    if softness:
        sharpen(model.circuit_, softness)
    return model.score(valid), model.n_iter_


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sets", nargs="+", default=SETS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| change | " + " | ".join(arguments.sets) + " |")
    print("|" + "---|" * (1 + len(arguments.sets)))
    for label, change in CHANGES.items():
        results = [validation(name, change) for name in arguments.sets]
        cells = [f"{score:.3f} ({epochs})" for score, epochs in results]
        print(f"| {label} | " + " | ".join(cells) + " |", flush=True)


def short() -> Iterator[Figure]:
    """Cases for short.py."""
    for label in list(CHANGES)[:2]:
        score, _ = validation("dna", CHANGES[label])
        yield Figure(f"dna, {label}", "validation log-likelihood", "nats", score)


if __name__ == "__main__":
    main()
