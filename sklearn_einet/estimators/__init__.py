"""The estimators: parameters, documentation, and fits as recipes."""
