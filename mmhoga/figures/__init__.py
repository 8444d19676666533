"""Figures: the genotype and plots. Data in, matplotlib figures out."""
