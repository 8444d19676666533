"""The genotype: which attention operation stands on which edge of HOGA's graph (paper, Eq. 2, Fig. 3).

A genotype is plain data. It knows no torch, is hashable, and goes to and from JSON. For K groups, row k lists
o_{0,k} .. o_{k,k}: entry j < k is the operation on the edge U_j -> U_k, entry k the one on F_k -> U_k.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmhoga.files import write_atomic

#: The candidate operations of section 3.2, in the order of alpha's columns.
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

# What register_primitive added, in this process.
_OWN: dict[str, None] = {}

FORMAT = 'mmhoga.genotype'
VERSION = 1


def known_primitives() -> tuple[str, ...]:
    """:data:`PRIMITIVES`, then those that users registered in this process, in that order."""
    return (*PRIMITIVES, *_OWN)


def add_primitive(name: str) -> None:
    """Allow a name in genotypes; :func:`mmhoga.models.register_primitive` calls it for a class of a user's own.

    Raises:
        ValueError: a name that is taken by a built-in primitive, or that is no identifier.
    """
    if name in PRIMITIVES:
        raise ValueError(f'{name!r} is a primitive of mmhoga; choose another name.')
    if not name.isidentifier():
        raise ValueError(f'A primitive is named by letters, digits and underscores, not {name!r}.')
    _OWN[name] = None


def unknown_primitive(name: Any) -> str:
    """What to tell someone who names a primitive that is not there."""
    allowed = known_primitives()
    return (
        f'unknown operation {name!r}.{_nearest(name, allowed)} Allowed: {", ".join(allowed)}. If it is a primitive of '
        "your own, import the module that registers it first: custom_imports=dict(imports=['your_module']) in the "
        'config, or --import your_module where a command takes no config.'
    )


class GenotypeError(ValueError):
    """A genotype that cannot be read; the message says which part, and what is allowed there."""


@dataclass(frozen=True)
class Genotype:
    """One operation for each edge of HOGA's graph.

    Args:
        edges: K rows; row k has k + 1 names of :func:`known_primitives`.
        meta: where the genotype came from (seed, epoch, alpha, ...); not part of equality or hash.

    Raises:
        GenotypeError: a row has the wrong length, or a name is unknown.
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
        """The name of o_{source,target}; ``source == target`` stands for F_target -> U_target."""
        return self.edges[target][source]

    @classmethod
    def from_config(cls, value: Any) -> Genotype:
        """Read whatever a config may hold: a built-in name, a path to a ``.json``, the rows, or a dict of the format.

        Raises:
            GenotypeError: with the part that is wrong and what is allowed.
            FileNotFoundError: the ``.json`` does not exist.
        """
        if isinstance(value, Genotype):
            return value
        if isinstance(value, (str, os.PathLike)):
            text = os.fspath(value)
            if text.endswith('.json'):
                return cls.load(text)
            if text in BUILTIN:
                return BUILTIN[text]
            raise GenotypeError(
                f'Unknown genotype {text!r}.{_nearest(text, BUILTIN)} Built-in names: '
                f'{", ".join(BUILTIN)}. A file must end in ".json".'
            )
        if isinstance(value, Mapping):
            return cls.from_dict(value)
        if isinstance(value, Sequence):
            return cls(tuple(value))
        raise GenotypeError(
            f'A genotype is a built-in name ({", ".join(BUILTIN)}), a path to a .json, a list of rows or a dict; '
            f'this is {_kind(value)}.'
        )

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Genotype:
        """Read the dict form (``format``, ``version``, ``num_groups``, ``edges``, ``meta``)."""
        if 'edges' not in data:
            raise GenotypeError(f'The genotype has no "edges"; its keys are {sorted(map(str, data))}.')
        if data.get('format', FORMAT) != FORMAT:
            raise GenotypeError(f'"format" is {data["format"]!r}; expected {FORMAT!r}.')
        if data.get('version', VERSION) != VERSION:
            raise GenotypeError(
                f'"version" is {data["version"]!r}; this mmhoga reads version {VERSION}. A newer mmhoga may have '
                'written it: upgrade.'
            )
        genotype = cls(data['edges'], data.get('meta') or {})
        stated = data.get('num_groups', genotype.num_groups)
        if stated != genotype.num_groups:
            raise GenotypeError(f'"num_groups" is {stated!r}, but "edges" has {genotype.num_groups} rows.')
        unknown = set(data) - {'format', 'version', 'num_groups', 'edges', 'meta'}
        if unknown:
            raise GenotypeError(
                f'Unknown keys {sorted(map(str, unknown))} in the genotype; what is not edges belongs under "meta".'
            )
        return genotype

    @classmethod
    def load(cls, path: str | os.PathLike) -> Genotype:
        """Read a ``.json`` file; every error names the file."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f'No genotype file at {str(path)!r} (looked in {path.resolve().parent}). A search writes '
                f'"genotype.json" into its work_dir; built-in names are {", ".join(BUILTIN)}.'
            )
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise GenotypeError(f'{path} is not valid JSON, or was cut off: {error}') from error
        if not isinstance(data, dict):
            raise GenotypeError(f'{path} holds {_kind(data)}; expected an object with "edges".')
        try:
            return cls.from_dict(data)
        except GenotypeError as error:
            raise GenotypeError(f'{path}: {error}') from None

    def to_dict(self) -> dict[str, Any]:
        """The dict form; ``Genotype.from_dict`` is its inverse."""
        return {
            'format': FORMAT,
            'version': VERSION,
            'num_groups': self.num_groups,
            'edges': [list(row) for row in self.edges],
            'meta': dict(self.meta),
        }

    def to_json(self) -> str:
        """The file's text: one row of edges a line, meta after it."""
        data = self.to_dict()
        rows = ',\n           '.join(json.dumps(row) for row in data['edges'])
        meta = json.dumps(data['meta'], indent=2, sort_keys=True, ensure_ascii=False)
        return (
            f'{{"format": "{FORMAT}", "version": {VERSION}, "num_groups": {self.num_groups},\n'
            f' "edges": [{rows}],\n "meta": {meta}}}\n'
        )

    def save(self, path: str | os.PathLike) -> None:
        """Write the ``.json`` whole or not at all."""
        write_atomic(path, self.to_json())

    def __str__(self) -> str:
        return '\n'.join(f'U{k} <- {", ".join(_terms(k, row))}' for k, row in enumerate(self.edges))


def uniform(operation: str, num_groups: int = 4) -> Genotype:
    """The genotype with one and the same operation on every edge (Table 6: HOG_SE, HOG_CBAM)."""
    return Genotype(tuple((operation,) * (k + 1) for k in range(num_groups)))


def num_edges(num_groups: int) -> int:
    """K(K + 1) / 2: the number of edges, and of alpha's rows."""
    return num_groups * (num_groups + 1) // 2


def edge_name(source: int, target: int) -> str:
    """The name of the edge o_{source,target} in state dicts, records, tables and files: ``o_0_1``."""
    return f'o_{source}_{target}'


def edge_list(num_groups: int) -> list[tuple[int, int]]:
    """The edges (source, target) in the order of alpha's rows: o_00; o_01, o_11; o_02, o_12, o_22; ..."""
    return [(j, k) for k in range(num_groups) for j in range(k + 1)]


def _terms(k: int, row: Iterable[str]) -> list[str]:
    return [f'{name}({"F" if j == k else "U"}{j})' for j, name in enumerate(row)]


def _check_rows(rows: Any) -> tuple[tuple[str, ...], ...]:
    if isinstance(rows, (str, Mapping)) or not isinstance(rows, Sequence):
        raise GenotypeError(f'"edges" must be a list of rows, not {_kind(rows)}.')
    if not rows:
        raise GenotypeError('"edges" is empty; a genotype has at least one row, for K = 1.')
    return tuple(_check_row(k, row) for k, row in enumerate(rows))


def _check_row(k: int, row: Any) -> tuple[str, ...]:
    if isinstance(row, (str, Mapping)) or not isinstance(row, Sequence):
        raise GenotypeError(f'Row {k} must be a list of {k + 1} names, not {_kind(row)}.')
    if len(row) != k + 1:
        raise GenotypeError(
            f'Row {k} has {len(row)} entries, expected {k + 1} (row k holds o_0k .. o_kk): {list(row)}.'
        )
    for j, name in enumerate(row):
        if not isinstance(name, str) or name not in known_primitives():
            raise GenotypeError(f'Row {k}, entry {j}: {unknown_primitive(name)}')
    return tuple(row)


def _nearest(name: Any, names: Iterable[str]) -> str:
    matches = difflib.get_close_matches(str(name).lower(), list(names), n=1, cutoff=0.5)
    return f' Did you mean {matches[0]!r}?' if matches else ''


def _kind(value: Any) -> str:
    text = repr(value)
    return f'{type(value).__name__} {text if len(text) <= 60 else text[:57] + "..."}'


#: Genotypes that a config can name.
BUILTIN: dict[str, Genotype] = {
    # Fig. 3 of the paper.
    'autola': Genotype(
        (
            ('skip_connect',),
            ('norm_3x3', 'spatial_3x3'),
            ('norm_3x3', 'skip_connect', 'cbam'),
            ('skip_connect', 'norm_3x3_d2', 'spatial_3x3', 'norm_3x3'),
        )
    ),
    # The released code's, which differs on o_23 alone.
    'autola_release': Genotype(
        (
            ('skip_connect',),
            ('norm_3x3', 'spatial_3x3'),
            ('norm_3x3', 'skip_connect', 'cbam'),
            ('skip_connect', 'norm_3x3_d2', 'norm_3x3', 'norm_3x3'),
        )
    ),
    # Table 6: group split with hand-made attentions.
    'hog_se': uniform('se'),
    'hog_cbam': uniform('cbam'),
}
