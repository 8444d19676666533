"""Converters from files of other code."""
