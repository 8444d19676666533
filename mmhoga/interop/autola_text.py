"""The authors' ``genotypes.py`` as text: its genotypes, read without running any of it."""

from __future__ import annotations

import ast
from typing import Any

from mmhoga.genotype import Genotype
from mmhoga.interop.autola import to_genotype


def read_genotypes(text: str) -> dict[str, Genotype]:
    """Every ``NAME = Genotype(normal=[(operation, index), ...], ...)`` in Python text, by its name.

    A lone ``Genotype(...)``, as their search logs it, or a lone list of pairs, gets the name ``genotype``. The text is
    parsed, never executed; only literals count.

    Raises:
        ValueError: no Python, no genotype in it, or one that is none; the message says which line.
    """
    try:
        body = ast.parse(text.strip()).body
    except SyntaxError as error:
        raise ValueError(f'This is no Python text (line {error.lineno}: {error.msg}).') from error
    found: dict[str, Genotype] = {}
    for statement in body:
        value = getattr(statement, 'value', None)
        normal = _normal(value) if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)) else None
        if normal is None:
            continue
        try:
            pairs = ast.literal_eval(normal)
            genotype = to_genotype(_pairs(pairs))
        except ValueError as error:
            raise ValueError(f'Line {statement.lineno}: {error}') from error
        for name in _names(statement):
            found[name] = genotype
    if not found:
        raise ValueError(
            "There is no genotype in this text: expected NAME = Genotype(normal=[('sep_conv_3x3', 0), ...], ...)."
        )
    return found


def _normal(value: Any) -> ast.expr | None:
    """The list of pairs in ``Genotype(normal=...)``, ``Genotype(...)`` or a list that begins with a pair."""
    if isinstance(value, ast.Call) and getattr(value.func, 'id', getattr(value.func, 'attr', '')) == 'Genotype':
        keywords = [keyword.value for keyword in value.keywords if keyword.arg == 'normal']
        return next(iter([*keywords, *value.args]), None)
    if isinstance(value, (ast.List, ast.Tuple)) and value.elts and isinstance(value.elts[0], (ast.List, ast.Tuple)):
        return value
    return None


def _pairs(value: Any) -> list[tuple[str, int]]:
    for pair in value if isinstance(value, (list, tuple)) else [value]:
        if not (isinstance(pair, (list, tuple)) and len(pair) == 2 and isinstance(pair[0], str)):
            raise ValueError(f'expected pairs of operation and index, found {pair!r}.')
    return [tuple(pair) for pair in value]


def _names(statement: ast.stmt) -> list[str]:
    targets = getattr(statement, 'targets', None) or [getattr(statement, 'target', None)]
    return [target.id for target in targets if isinstance(target, ast.Name)] or ['genotype']
