"""Reports: pages made from the work_dirs of runs."""
