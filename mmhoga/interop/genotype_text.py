"""The genotypes in a text of the authors' code: their ``genotypes.py``, or a log of their search.

Both write ``NAME = Genotype(normal=[('skip_connect', 0), ...], ...)``. Only literals are read; nothing is evaluated.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from mmhoga.genotype import Genotype, GenotypeError
from mmhoga.interop.autola import to_genotype

_CALL = re.compile(r'(?:(\w+)\s*=\s*)?\bGenotype\(')
_OPEN, _CLOSE = '([{', ')]}'


def read_genotypes(text: str) -> dict[str, Genotype]:
    """Every genotype in ``text`` by its name, in the order of the text.

    A name that comes again, as ``genotype`` does each epoch of a log, gets a number: ``genotype#2``. So does a genotype
    without a name.

    Raises:
        GenotypeError: the text holds none, or one that is cut off or no genotype of the release; with its line.
    """
    found: dict[str, Genotype] = {}
    for match in _CALL.finditer(text):
        line = text.count('\n', 0, match.start()) + 1
        try:
            normal = _normal(_call(text, match.end() - 1))
            genotype = to_genotype(normal)
        except (ValueError, TypeError) as error:
            raise GenotypeError(f'Line {line}: {error}') from error
        found[_unused(match[1] or 'genotype', found)] = genotype
    if not found:
        raise GenotypeError("There is no 'Genotype(normal=[...], ...)' in this text.")
    return found


def _call(text: str, opening: int) -> ast.Call:
    """The call whose parenthesis opens at ``opening``."""
    depth = 0
    for position in range(opening, len(text)):
        depth += (text[position] in _OPEN) - (text[position] in _CLOSE)
        if depth == 0:
            try:
                expression = ast.parse(f'Genotype{text[opening : position + 1]}', mode='eval').body
            except SyntaxError as error:
                raise ValueError(f'Genotype(...) is no Python: {error.msg}') from error
            assert isinstance(expression, ast.Call)
            return expression
    raise ValueError('Genotype(... has no closing parenthesis: the text was cut off.')


def _normal(call: ast.Call) -> list[tuple[str, int]]:
    keywords = {keyword.arg: keyword.value for keyword in call.keywords}
    node = keywords.get('normal', call.args[0] if call.args else None)
    if node is None:
        raise ValueError(f'Genotype(...) has no "normal"; it has {sorted(map(str, keywords)) or "nothing"}.')
    try:
        pairs: Any = ast.literal_eval(node)
    except ValueError as error:
        raise ValueError('"normal" is no literal list of (operation, index) pairs.') from error
    if not isinstance(pairs, (list, tuple)) or not all(isinstance(pair, (list, tuple)) for pair in pairs):
        raise ValueError('"normal" is no list of (operation, index) pairs.')
    for position, pair in enumerate(pairs):
        if len(pair) != 2:
            raise ValueError(f'"normal", entry {position}: expected (operation, index), found {pair!r}.')
    return list(pairs)


def _unused(name: str, taken: dict[str, Genotype]) -> str:
    number, candidate = 1, name
    while candidate in taken:
        number += 1
        candidate = f'{name}#{number}'
    return candidate
