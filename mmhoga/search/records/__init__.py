"""The record of a search: one entry per epoch, the files in its work_dir, and the watch for a collapse."""
