import numpy as np
import pytest
import torch

from sklearn_einet.circuit.queries.maxima import add_peaks, peak_log_densities
from sklearn_einet.circuit.queries.sampling import MostProbableChoices, fill, walk
from sklearn_einet.circuit.semirings import MAX
from sklearn_einet.families import Beta, Categorical, Gamma
from tests.helpers.circuits import (
    FAMILY_TABLES,
    Structure,
    hidden_trees,
    induced_trees,
    irregular_graph,
    random_circuit,
    rows_with_gaps,
    table_id,
    tree_graph,
    with_other_layers,
)


def complete(circuit, rows):
    """The completed rows and the logarithms of what was maximised."""
    leaves, base = circuit.leaf_log_densities(rows.T.contiguous(), circuit.parameters())
    add_peaks(circuit, leaves, torch.isnan(rows).T, rows.T, peak_log_densities(circuit))
    activations = circuit.propagate(leaves, semiring=MAX)
    result = rows.numpy().copy()
    visits = walk(circuit, len(rows), MostProbableChoices(activations))
    fill(circuit, visits, result, lambda family, phi: family.peak(torch.as_tensor(phi)).numpy())
    return result, activations.root + base


def peaks_of(circuit, leaves, row):
    """The best completion of a row in an induced tree's leaves, and its log-density there."""
    total, filled = 0.0, row.clone()
    for region, entry in leaves:
        for group in circuit.leaf_groups:
            for slot, column in enumerate(group.index[region].tolist()):
                if column == len(group.columns):
                    continue
                phi = group.phi[region, slot, :, entry : entry + 1]
                feature = group.columns[column]
                if torch.isnan(row[feature]):
                    filled[feature] = group.family.peak(phi)[0]
                total += float(group.family.log_prob(filled[feature : feature + 1], phi)[0])
    return total, filled


GRAPHS = [
    irregular_graph(),
    tree_graph(4, 2, 2),
    tree_graph(4, 0, 1),
    Structure(irregular_graph(), "cp"),
    Structure(tree_graph(4, 2, 2), "cp"),
    Structure(hidden_trees(), "cp"),
    *with_other_layers(irregular_graph(), hidden_trees()),
]
MIXED = FAMILY_TABLES[-3]
OTHERS = FAMILY_TABLES[:2] + FAMILY_TABLES[4:5] + FAMILY_TABLES[-2:]


# Every graph with columns of three families, and the other families on two small graphs.
@pytest.mark.parametrize(
    ("graph", "families"),
    [
        *((graph, MIXED) for graph in GRAPHS),
        *((graph, families) for graph in GRAPHS[2::3] for families in OTHERS),
    ],
    ids=lambda value: table_id(value) if isinstance(value, dict) else str(value),
)
def test_the_best_of_all_induced_trees(graph, families):
    circuit = random_circuit(graph, families, K=2)
    rows = rows_with_gaps(circuit, 4)
    rows[0] = torch.nan
    found, values = complete(circuit, rows)
    trees = [(np.log(weight), leaves) for weight, _, leaves in induced_trees(circuit)]
    for i, row in enumerate(rows):
        options = [(log_weight, *peaks_of(circuit, leaves, row)) for log_weight, leaves in trees]
        totals = np.array([log_weight + density for log_weight, density, _ in options])
        best = int(totals.argmax())
        assert values[i].item() == pytest.approx(totals[best], rel=1e-9, abs=1e-9)
        np.testing.assert_allclose(found[i], options[best][2], rtol=1e-12)


def test_values_are_possible_where_densities_have_poles():
    circuit = random_circuit(tree_graph(4, 2, 2), {Gamma(): [0, 1], Beta(): [2, 3]})
    for group in circuit.leaf_groups:
        sign = torch.tensor([0.5, -1.0] if group.family.name == "gamma" else [0.5, 0.5])
        theta = sign.to(torch.float64).view(1, 1, 2, 1).expand_as(group.phi)
        group.phi = group.family.expectation(theta)
    found, values = complete(circuit, torch.full((1, 4), torch.nan, dtype=torch.float64))
    assert torch.isfinite(circuit.log_prob(torch.as_tensor(found))).all()
    assert torch.isfinite(values).all()


def test_observed_cells_stay():
    circuit = random_circuit(irregular_graph(), {Categorical(3): range(4)})
    rows = rows_with_gaps(circuit, 50)
    found, _ = complete(circuit, rows)
    seen = ~torch.isnan(rows).numpy()
    np.testing.assert_array_equal(found[seen], rows.numpy()[seen])
    assert not np.isnan(found).any()
