"""The record of a search: its file, and the hook that writes it and watches for a collapse."""
