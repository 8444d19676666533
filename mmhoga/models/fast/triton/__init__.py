"""Kernels for GPUs, in Triton. Each computes what a function of plain operators does, in one launch instead of several.

The functions that use them say when (:func:`mmhoga.models.fast.triton.launch.usable`). Without Triton nothing here is
imported but :mod:`mmhoga.models.fast.triton.launch`.
"""
