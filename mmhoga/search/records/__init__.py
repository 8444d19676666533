"""The record of a search: its file, the hook that writes it, and the watch for a collapse."""
