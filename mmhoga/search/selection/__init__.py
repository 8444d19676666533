"""The way from alpha to a genotype: the mix over the epochs, derived networks, their scores, the final choice."""

from mmhoga.search.selection.derived_network import derived_architecture
from mmhoga.search.selection.finished import SupernetScore
from mmhoga.search.selection.score import GenotypeScorer

__all__ = ['GenotypeScorer', 'SupernetScore', 'derived_architecture']
