"""The cost of derived cells: parameters, multiply-accumulates or latency, expected under alpha."""
