"""The genotype: the attention operation of each edge of HOGA's graph (Eq. 2, Fig. 3 of the paper).

A genotype is plain data without torch, hashable, and stored as JSON. For K groups, row k lists o_{0,k} .. o_{k,k}:
entry j < k is the primitive of the edge U_j -> U_k, entry k that of F_k -> U_k.
"""

from __future__ import annotations

import difflib
import json
import os
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmhoga.files import write_atomic

#: The primitives of section 3.2, in the order of the columns of alpha.
PRIMITIVES = (
    'none',  # zero, Eq. (9)
    'skip_connect',  # identity, Eq. (9)
    'norm_3x3',  # normalization attention, dilation 1, Eq. (7)
    'norm_3x3_d2',  # the same, dilation 2
    'spatial_3x3',  # spatial attention, dilation 1, Eq. (6)
    'spatial_3x3_d2',  # the same, dilation 2
    'se',  # channel attention, Eq. (4)
    'se_avgmax',  # channel attention v2, Eq. (5)
    'cbam',  # Eq. (8)
)

# The names added by register_primitive in this process, in order.
_OWN: dict[str, None] = {}

FORMAT = 'mmhoga.genotype'
VERSION = 1
MOST_GROUPS = 256  # 32,896 edges


def known_primitives() -> tuple[str, ...]:
    """:data:`PRIMITIVES`, then the names that users registered in this process."""
    return (*PRIMITIVES, *_OWN)


def add_primitive(name: str) -> None:
    """Allow a name in genotypes; called by :func:`mmhoga.register_primitive`.

    Raises:
        ValueError: the name belongs to a built-in primitive, or is not an identifier.
    """
    if not isinstance(name, str):
        raise ValueError(f'The name of a primitive must be a string, not {_kind(name)}.')
    if name in PRIMITIVES:
        raise ValueError(f'{name!r} is a primitive of mmhoga: choose another name.')
    if not name.isidentifier() or len(name) > 64:
        raise ValueError(
            f'{reprlib.repr(name)} is no valid name for a primitive: use at most 64 letters, digits and underscores.'
        )
    _OWN[name] = None


def unknown_primitive(name: Any) -> str:
    """The error message for a primitive that is not registered."""
    allowed = known_primitives()
    return (
        f'unknown operation {reprlib.repr(name)}.{_nearest(name, allowed)} Allowed: {", ".join(allowed)}. If you wrote '
        'this primitive, import the module that registers it first: '
        "custom_imports=dict(imports=['your_module']) in the config, or --import your_module for a command without one."
    )


class GenotypeError(ValueError):
    """A genotype that cannot be read. The message names the invalid part and the allowed values."""


@dataclass(frozen=True)
class Genotype:
    """One primitive for each edge of HOGA's graph.

    Args:
        edges: K rows; row k has k + 1 names of :func:`known_primitives`.
        meta: the origin of the genotype (seed, epoch, alpha, ...), ignored by equality and hash.

    Raises:
        GenotypeError: a row has the wrong length, or a name is unknown.

    Example:
        >>> from mmhoga.genotype import Genotype
        >>> genotype = Genotype([['skip_connect'], ['norm_3x3', 'se']])
        >>> print(genotype)
        U0 <- skip_connect(F0)
        U1 <- norm_3x3(U0), se(F1)
        >>> genotype.operation(0, 1)
        'norm_3x3'
    """

    edges: tuple[tuple[str, ...], ...]
    meta: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'edges', _check_rows(self.edges))
        if not isinstance(self.meta, Mapping):
            raise GenotypeError(f'"meta" must be a dict, not {_kind(self.meta)}.')
        object.__setattr__(self, 'meta', dict(self.meta))

    @property
    def num_groups(self) -> int:
        """K, the number of channel groups."""
        return len(self.edges)

    def operation(self, source: int, target: int) -> str:
        """The primitive of o_{source,target}; ``source == target`` is the edge F_target -> U_target."""
        return self.edges[target][source]

    @classmethod
    def from_config(cls, value: Any) -> Genotype:
        """Read the value of a config: a built-in name, a path to a ``.json``, the rows, or the dict form.

        Raises:
            GenotypeError: the value is invalid.
            FileNotFoundError: the ``.json`` does not exist.
        """
        if isinstance(value, Genotype):
            return value
        names = ', '.join(BUILTIN)
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            if text.endswith('.json'):
                return cls.load(text)
            if text in BUILTIN:
                return BUILTIN[text]
            raise GenotypeError(
                f'Unknown genotype {reprlib.repr(text)}.{_nearest(text, BUILTIN)} Built-in names: {names}. '
                'A file ends in ".json".'
            )
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, Sequence):
            return cls(tuple(value))
        raise GenotypeError(
            f'A genotype is a built-in name ({names}), a path to a .json, rows or a dict; this is {_kind(value)}.'
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Genotype:
        """Read the dict form (``format``, ``version``, ``num_groups``, ``edges``, ``meta``)."""
        if 'edges' not in data:
            raise GenotypeError(f'The genotype has no "edges"; its keys are {_names(data)}.')
        if data.get('format', FORMAT) != FORMAT:
            raise GenotypeError(f'"format" is {reprlib.repr(data["format"])}; expected {FORMAT!r}.')
        if not _is_int(data.get('version', VERSION), VERSION):
            version = reprlib.repr(data['version'])
            raise GenotypeError(f'"version" is {version}; this mmhoga reads version {VERSION}. Upgrade it.')
        genotype = cls(data['edges'], data.get('meta', {}))
        if not _is_int(data.get('num_groups', genotype.num_groups), genotype.num_groups):
            stated = reprlib.repr(data['num_groups'])
            raise GenotypeError(f'"num_groups" is {stated}, but "edges" has {genotype.num_groups} rows.')
        unknown = set(data) - {'format', 'version', 'num_groups', 'edges', 'meta'}
        if unknown:
            raise GenotypeError(f'Unknown keys {_names(unknown)}; other information belongs under "meta".')
        return genotype

    @classmethod
    def load(cls, path: str | os.PathLike) -> Genotype:
        """Read a ``.json`` file. Every error names the file."""
        path = Path(path)
        try:
            found = path.is_file()
        except OSError as error:  # a name that the file system cannot have
            raise GenotypeError(f'{reprlib.repr(str(path))} cannot be a genotype file: {error.strerror}.') from error
        if not found:
            raise FileNotFoundError(
                f'No genotype file at {str(path)!r} (looked in {path.resolve().parent}). A search writes '
                f'"genotype.json" into its work_dir; built-in names are {", ".join(BUILTIN)}.'
            )
        try:
            data = json.loads(path.read_text(encoding='utf-8'), object_pairs_hook=_without_repetition)
            json.dumps(data, ensure_ascii=False).encode()  # a lone surrogate has no encoding
        except OSError as error:
            raise GenotypeError(f'{path} cannot be read: {error.strerror}.') from error
        except RecursionError:
            raise GenotypeError(f'{path} is no genotype: its lists or objects are nested too deeply.') from None
        except ValueError as error:  # not JSON, not UTF-8, or a number with thousands of digits
            raise GenotypeError(f'{path} is not valid JSON, or is incomplete: {error}') from error
        if not isinstance(data, dict):
            raise GenotypeError(f'{path} holds {_kind(data)}; expected an object with "edges".')
        try:
            return cls.from_dict(data)
        except GenotypeError as error:
            raise GenotypeError(f'{path}: {error}') from None

    def to_dict(self) -> dict[str, Any]:
        """The dict form, which ``Genotype.from_dict`` reads."""
        return {
            'format': FORMAT,
            'version': VERSION,
            'num_groups': self.num_groups,
            'edges': [list(row) for row in self.edges],
            'meta': dict(self.meta),
        }

    def to_json(self) -> str:
        """The text of the file: one row of edges per line, then meta."""
        data = self.to_dict()
        rows = ',\n           '.join(json.dumps(row) for row in data['edges'])
        meta = json.dumps(data['meta'], indent=2, sort_keys=True, ensure_ascii=False)
        return (
            f'{{"format": "{FORMAT}", "version": {VERSION}, "num_groups": {self.num_groups},\n'
            f' "edges": [{rows}],\n "meta": {meta}}}\n'
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the ``.json`` atomically."""
        write_atomic(path, self.to_json())

    def __str__(self) -> str:
        lines = []
        for k, row in enumerate(self.edges):
            terms = [f'{name}({"F" if j == k else "U"}{j})' for j, name in enumerate(row)]
            lines.append(f'U{k} <- {", ".join(terms)}')
        return '\n'.join(lines)


def uniform(operation: str, num_groups: int = 4) -> Genotype:
    """The genotype with the same primitive on every edge (HOG_SE and HOG_CBAM of Table 6)."""
    require_num_groups(num_groups)
    return Genotype(tuple((operation,) * (k + 1) for k in range(num_groups)))


def from_edges(operations: Sequence[str]) -> Genotype:
    """The genotype with one primitive for each edge of :func:`edge_list`."""
    _check_list(operations, 'The operations must be a list of K (K + 1) / 2 names')
    if not operations:
        raise GenotypeError('The list of operations is empty; a genotype has at least one edge, for K = 1.')
    groups = next(k for k in range(1, len(operations) + 1) if num_edges(k) >= len(operations))
    return Genotype(tuple(tuple(operations[num_edges(k) : num_edges(k + 1)]) for k in range(groups)))


def require_num_groups(value: Any) -> None:
    """Raise a GenotypeError unless a value can be K."""
    if type(value) is not int or not 1 <= value <= MOST_GROUPS:
        raise GenotypeError(f'num_groups (K) must be an integer from 1 to {MOST_GROUPS}, not {reprlib.repr(value)}.')


def num_edges(num_groups: int) -> int:
    """K(K + 1) / 2: the number of edges, and of alpha's rows."""
    return num_groups * (num_groups + 1) // 2


def edge_name(source: int, target: int) -> str:
    """The name of the edge o_{source,target} in state dicts, records, tables and files, like ``o_0_1``."""
    return f'o_{source}_{target}'


def edge_list(num_groups: int) -> list[tuple[int, int]]:
    """The edges (source, target) in the order of the rows of alpha: o_00; o_01, o_11; o_02, o_12, o_22; ..."""
    return [(j, k) for k in range(num_groups) for j in range(k + 1)]


def _check_rows(rows: Any) -> tuple[tuple[str, ...], ...]:
    _check_list(rows, '"edges" must be a list of rows')
    if not rows:
        raise GenotypeError('"edges" is empty; a genotype has at least one row, for K = 1.')
    for k, row in enumerate(rows):
        _check_list(row, f'Row {k} must be a list of {k + 1} names')
        if len(row) != k + 1:
            raise GenotypeError(
                f'Row {k} has {len(row)} entries, expected {k + 1} (o_0k .. o_kk): {reprlib.repr(list(row))}.'
            )
        for j, name in enumerate(row):
            if not isinstance(name, str) or name not in known_primitives():
                raise GenotypeError(f'Row {k}, entry {j}: {unknown_primitive(name)}')
    return tuple(tuple(row) for row in rows)


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        repeated = next(key for index, (key, _) in enumerate(pairs) if key in dict(pairs[:index]))
        raise ValueError(f'the key {reprlib.repr(repeated)} occurs twice in one object')
    return data


def _is_int(value: Any, expected: int) -> bool:
    return type(value) is int and value == expected  # in Python, True == 1 == 1.0


def _names(keys: Iterable[Any]) -> str:
    return f'[{", ".join(sorted(map(reprlib.repr, keys))[:8])}]'


def _check_list(value: Any, requirement: str) -> None:
    if isinstance(value, (str, Mapping)) or not isinstance(value, Sequence):
        raise GenotypeError(f'{requirement}, not {_kind(value)}.')


def _nearest(name: Any, names: Iterable[str]) -> str:
    text = str(name).lower() if isinstance(name, str) and len(name) < 100 else ''
    matches = difflib.get_close_matches(text, list(names), n=1, cutoff=0.5)
    return f' Did you mean {matches[0]!r}?' if matches else ''


def _kind(value: Any) -> str:
    return f'{type(value).__name__} {reprlib.repr(value)}'


_AUTOLA = (('skip_connect',), ('norm_3x3', 'spatial_3x3'), ('norm_3x3', 'skip_connect', 'cbam'))

#: The genotypes with a name.
BUILTIN: dict[str, Genotype] = {
    # Fig. 3 of the paper.
    'autola': Genotype((*_AUTOLA, ('skip_connect', 'norm_3x3_d2', 'spatial_3x3', 'norm_3x3'))),
    # The released code, which differs only on o_23.
    'autola_release': Genotype((*_AUTOLA, ('skip_connect', 'norm_3x3_d2', 'norm_3x3', 'norm_3x3'))),
    # Table 6: the group split with hand-made attentions.
    'hog_se': uniform('se'),
    'hog_cbam': uniform('cbam'),
}
