"""Region graphs, which determine the regions of a circuit, and ways to make them."""

from sklearn_einet.structure.chow_liu import chow_liu
from sklearn_einet.structure.poon_domingos import poon_domingos
from sklearn_einet.structure.quadrants import quad_graph, quad_tree
from sklearn_einet.structure.random_binary_trees import random_binary_trees
from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph
from sklearn_einet.structure.tree_regions import tree_of

__all__ = [
    "Partition",
    "Region",
    "RegionGraph",
    "chow_liu",
    "poon_domingos",
    "quad_graph",
    "quad_tree",
    "random_binary_trees",
    "tree_of",
]
