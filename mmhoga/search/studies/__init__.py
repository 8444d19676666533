"""Several genotypes: sampled at random, or found by repeated searches and compared."""
