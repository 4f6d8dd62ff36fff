"""The estimators: their parameters, documentation and fits."""
