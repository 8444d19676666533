"""What tools/analysis_tools/ do with checkpoints: from a command line to a figure and the numbers behind it."""
