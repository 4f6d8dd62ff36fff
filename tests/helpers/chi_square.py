"""Tests whether counts come from a distribution."""

import numpy as np
from scipy import stats


def chi_square_p(observed, expected):
    """The p-value of counts; they need not have the same sum, which scipy < 1.16 insists on."""
    observed, expected = np.asarray(observed), np.asarray(expected)
    return stats.chi2.sf(((observed - expected) ** 2 / expected).sum(), len(observed) - 1)
