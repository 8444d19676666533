"""The way from alpha to a genotype: the mix over the epochs, derived networks, their scores, the final choice."""
