"""Fit a small model with an installed copy: `python .ci/small_fit.py [--uncompiled] [FOLDER]`.

The copy must lie in the folder, by default that of the environment, and have its compiled part.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

import sklearn_einet
from sklearn_einet import EinetDensity, native


def main() -> None:
    """Fit, score and draw."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--uncompiled", action="store_true")
    parser.add_argument("folder", nargs="?", default=sys.prefix)
    options = parser.parse_args()
    path = Path(sklearn_einet.__file__).resolve()
    assert path.is_relative_to(Path(options.folder).resolve()), path
    assert native.available() != options.uncompiled, native.cause_of_absence()
    X = np.random.RandomState(0).normal(size=(200, 4))
    X[::5, 1] = np.nan
    model = EinetDensity(K=3, random_state=0, max_iter=3).fit(X)
    assert np.isfinite(model.score_samples(X)).all()
    assert not np.isnan(model.sample_conditional(X)).any()
    print(f"  fits, scores and draws; native.available() is {native.available()}")


if __name__ == "__main__":
    main()
