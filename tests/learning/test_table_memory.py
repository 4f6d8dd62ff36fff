"""How many tables of states a fit has in memory at a time."""

import subprocess
import sys

import pytest

N_COLUMNS, N_STATES, K = 100, 512, 96

# Larger than anything else: the rows, the activations of a batch, or the sums.
TABLE_MB = 8 * N_COLUMNS * N_STATES * K / 2**20

PEAK = f"""
import resource, sys, warnings
import numpy as np
from sklearn_einet import EinetDensity
from sklearn_einet.families import Categorical

warnings.simplefilter("ignore")
X = np.random.RandomState(0).randint({N_STATES}, size=(200, {N_COLUMNS}))

def fit(K):
    model = EinetDensity(
        structure="quad-tree", image_shape=(10, 10), leaf=Categorical({N_STATES}), K=K,
        batch_size=32, max_iter=2, tol=0, early_stopping=sys.argv[1] == "early", random_state=0,
    )
    model.fit(X)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

before = fit(1)
print(fit({K}) - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the unit of ru_maxrss differs")
@pytest.mark.parametrize("stopping", ["never", "early"])
def test_a_fit_has_few_tables_of_states(stopping):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, stopping], capture_output=True, text=True, check=True
    )
    # Parameters, those that follow, and their average; the best ones so far; half of one for
    # logarithms in single precision; and at most as much again for what is not a table.
    assert float(done.stdout) < 8 * TABLE_MB
