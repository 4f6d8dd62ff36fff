"""Plots of fitted models, following the Display convention of scikit-learn."""

from sklearn_einet.inspection.conditional_density import ConditionalDensityDisplay
from sklearn_einet.inspection.explanation import ExplanationDisplay
from sklearn_einet.inspection.feature_scores import FeatureScoresDisplay
from sklearn_einet.inspection.image_grid import ImageGridDisplay
from sklearn_einet.inspection.log_densities import LogDensityDisplay
from sklearn_einet.inspection.structure import StructureDisplay

__all__ = [
    "ConditionalDensityDisplay",
    "ExplanationDisplay",
    "FeatureScoresDisplay",
    "ImageGridDisplay",
    "LogDensityDisplay",
    "StructureDisplay",
]
