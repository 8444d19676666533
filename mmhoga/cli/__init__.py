"""The command line: one file per command. ``run`` holds what ``train`` and ``test`` share."""
