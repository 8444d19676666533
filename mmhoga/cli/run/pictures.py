"""Pictures that cannot be read are named, in whatever process they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
from mmengine.dataset import Compose


class PictureError(Exception):
    """A picture of a data set is missing or damaged. The message names the file."""


class NamingPipeline(Compose):
    """A pipeline that raises a PictureError if it fails and the picture of the sample cannot be read."""

    def __call__(self, data: dict) -> dict | None:
        path = data.get('img_path') if isinstance(data, dict) else None  # transforms may change the dict
        try:
            return super().__call__(data)
        except Exception as error:
            problem = picture_problem(path) if isinstance(path, str) else None
            if problem is None:
                raise
            raise PictureError(problem) from error


def name_pictures(dataset: Any) -> None:
    """Make the pipelines of a data set, and of those inside it, name pictures that cannot be read."""
    for each in _with_inner(dataset):
        if type(getattr(each, 'pipeline', None)) is Compose:
            each.pipeline.__class__ = NamingPipeline


def picture_problem(path: str) -> str | None:
    """A sentence about a local file that is not a whole picture; None if it is one."""
    file = Path(path)
    if '://' in path:
        return None
    if not file.exists():
        return f'there is no {path}, which the data set lists.'
    if file.is_dir():
        return f'{path} is a folder, not a picture.'
    if not file.stat().st_size:
        return f'{path} is an empty file, not a picture.'
    try:
        is_picture = cv2.imread(path, cv2.IMREAD_UNCHANGED) is not None
    except cv2.error:
        is_picture = False
    return None if is_picture else f'{path} is not a picture, or was cut off.'


def _with_inner(dataset: Any) -> Iterator[Any]:
    yield dataset
    inner = getattr(dataset, 'datasets', None) or [getattr(dataset, 'dataset', None)]
    for each in inner:
        if each is not None:
            yield from _with_inner(each)
