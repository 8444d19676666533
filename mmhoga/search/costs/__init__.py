"""The cost of derived cells: expected under alpha, and latency measured on this machine."""
