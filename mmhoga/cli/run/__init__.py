"""From a command line to a run: what ``train`` and ``test`` share."""
