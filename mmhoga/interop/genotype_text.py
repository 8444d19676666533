"""Genotypes in texts of the authors' code: ``genotypes.py``, or a log of a search.

Both have lines like ``NAME = Genotype(normal=[('skip_connect', 0), ...], ...)``. Only literals are read; no code runs.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from mmhoga.genotype import Genotype, GenotypeError
from mmhoga.interop.autola import to_genotype

_CALL = re.compile(r'(?:(\w+)\s*=\s*)?\bGenotype\(')


def read_genotypes(text: str) -> dict[str, Genotype]:
    """Every genotype in ``text`` by name, in the order of the text.

    A repeated name, such as ``genotype`` in every epoch of a log, gets a number: ``genotype#2``. A genotype without a
    name is called ``genotype``.

    Raises:
        GenotypeError: there is no genotype, or one is cut off or wrong. The message names its line.
    """
    genotypes: dict[str, Genotype] = {}
    for match in _CALL.finditer(text):
        name = unused = match[1] or 'genotype'
        number = 1
        while unused in genotypes:
            number += 1
            unused = f'{name}#{number}'
        try:
            genotypes[unused] = to_genotype(_normal(_call(text, match.end() - 1)))
        except (ValueError, TypeError) as error:
            line = text.count('\n', 0, match.start()) + 1
            raise GenotypeError(f'Line {line}: {error}') from error
    if not genotypes:
        raise GenotypeError("There is no 'Genotype(normal=[...], ...)' in this text.")
    return genotypes


def _call(text: str, start: int) -> ast.Call:
    """Parse the call whose opening parenthesis is at ``start``."""
    depth = 0
    for position in range(start, len(text)):
        depth += (text[position] in '([{') - (text[position] in ')]}')
        if depth == 0:
            try:
                call = ast.parse(f'Genotype{text[start : position + 1]}', mode='eval').body
            except SyntaxError as error:
                raise ValueError(f'Genotype(...) is not valid Python: {error.msg}') from error
            assert isinstance(call, ast.Call)
            return call
    raise ValueError('Genotype(... has no closing parenthesis: the text was cut off.')


def _normal(call: ast.Call) -> list[tuple[str, int]]:
    """The argument ``normal`` of a call, a list of (operation, index) pairs."""
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    node = keywords.get('normal', call.args[0] if call.args else None)
    if node is None:
        raise ValueError(f'Genotype(...) has no "normal". It has {sorted(map(str, keywords)) or "no arguments"}.')
    try:
        pairs: Any = ast.literal_eval(node)
    except ValueError as error:
        raise ValueError('"normal" is not a literal list of (operation, index) pairs.') from error
    if not isinstance(pairs, (list, tuple)):
        raise ValueError(f'"normal" is not a list of (operation, index) pairs: {pairs!r}.')
    for position, pair in enumerate(pairs):
        if not isinstance(pair, (list, tuple)) or len(pair) != 2:
            raise ValueError(f'"normal", entry {position}: expected (operation, index), not {pair!r}.')
    return list(pairs)
