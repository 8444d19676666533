"""Drawings, readings of runs, and reports: files and tensors in, figures and pages out."""
