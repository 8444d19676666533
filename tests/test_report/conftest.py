"""Work directories of made-up runs."""

from made_up_runs import search_dir, write_log, write_run  # noqa: F401
