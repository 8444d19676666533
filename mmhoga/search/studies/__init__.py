"""Several genotypes: random ones as a baseline, and the agreement between repeated searches."""
