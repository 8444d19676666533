"""Autograd functions with cheaper hand-written backward passes, and layers with a faster path for channels_last."""
