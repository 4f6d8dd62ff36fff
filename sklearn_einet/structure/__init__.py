"""Which regions a circuit has: region graphs and the ways to make them."""

from sklearn_einet.structure.poon_domingos import poon_domingos
from sklearn_einet.structure.random_binary_trees import random_binary_trees
from sklearn_einet.structure.region_graph import Partition, Region, RegionGraph

__all__ = ["Partition", "Region", "RegionGraph", "poon_domingos", "random_binary_trees"]
