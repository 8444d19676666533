"""From a command line to a run: the code that several commands share."""
