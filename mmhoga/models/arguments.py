"""Checks of the arguments of public classes, where they enter. Messages are short whatever the value."""

from __future__ import annotations

import reprlib
from typing import Any


def check_integers(**values: Any) -> None:
    """ValueError unless each value is an integer of at least 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f'{name} must be an integer of at least 1, not {reprlib.repr(value)}.')


def check_shares(**values: Any) -> None:
    """ValueError unless each value is a number from 0 to 1."""
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
            raise ValueError(f'{name} must be a number from 0 to 1, not {reprlib.repr(value)}.')
