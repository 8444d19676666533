"""Annotation files hold numbers: a box of NaN would train, and spoil the weights without a message."""

from __future__ import annotations

import json
import math
import mmap
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhoga.hosts import LaunchError, walk

# As Python and others write numbers that JSON lacks.
_NOT_A_NUMBER = re.compile(rb'[\[,:]\s*-?(?:NaN|Infinity)\b')


def require_numbers(cfg: Config, parts: Sequence[str]) -> None:
    """Raise a LaunchError if the annotations (JSON) of the data sets of ``parts`` hold NaN or infinity.

    Only a file whose text contains such a word is parsed. Reading the others takes a second per gigabyte.
    """
    for path in sorted({*_annotation_files(cfg, parts)}):
        if path.is_file() and path.stat().st_size and _may_lack_numbers(path):
            place = _first_place(path)
            if place:
                raise LaunchError(f'{path}: {place} is not a number (NaN or infinite). Correct or remove this entry.')


def _annotation_files(cfg: Config, parts: Sequence[str]) -> Iterator[Path]:
    sections = {part: cfg.get(f'{part}_dataloader') for part in parts}
    sections['train_cfg'] = cfg.get('train_cfg') if 'train' in parts else None
    for _, node in walk(sections):
        file = node.get('ann_file') if isinstance(node, Mapping) else None
        if isinstance(file, str) and file.endswith('.json') and '://' not in f'{node.get("data_root")}{file}':
            yield Path(node.get('data_root') or '', file)


def _may_lack_numbers(path: Path) -> bool:
    with path.open('rb') as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return _NOT_A_NUMBER.search(content) is not None


def _first_place(path: Path) -> str | None:
    """The first value that is not a number, like ``annotations.3.bbox.0 (id 4)``; None if the file has none."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError:  # the data set reports it
        return None
    if not isinstance(content, (dict, list)):
        return None
    for key, value in walk(dict(enumerate(content)) if isinstance(content, list) else content):
        if isinstance(value, float) and not math.isfinite(value):
            return f'{key}{_names(content, key)}'
    return None


def _names(content: Any, key: str) -> str:
    """The ``id`` and ``image_id`` of the entry in a list of COCO."""
    names = key.split('.')
    if not isinstance(content, dict) or len(names) < 2 or not isinstance(content.get(names[0]), list):
        return ''
    entry = content[names[0]][int(names[1])]
    known = [f'{name} {entry[name]}' for name in ('id', 'image_id') if isinstance(entry, dict) and name in entry]
    return f' ({", ".join(known)})' if known else ''
