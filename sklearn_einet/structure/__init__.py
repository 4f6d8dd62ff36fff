"""Which regions a circuit has: region graphs and the ways to make them."""

from sklearn_einet.structure.random_binary_trees import random_binary_trees
from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["Partition", "Region", "RegionGraph", "random_binary_trees"]
