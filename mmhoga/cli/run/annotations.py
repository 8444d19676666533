"""What is wrong with a data set that could not be read: looked at after the fact, so a good one costs nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

_LISTS = {
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}
_ROOMS = {'datasets', 'dataset', 'pycocotools', 'xtcocotools'}
_CLASSES = {'ImageNet': 1000, 'CustomDataset': None}


def came_from_data(error: BaseException | None) -> bool:
    """Whether an exception, or its cause, passed through a data set of mmengine's or a host's, or COCO's reader."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            if _ROOMS & set(Path(trace.tb_frame.f_code.co_filename).parts):
                return True
            trace = trace.tb_next
        error = error.__cause__ or error.__context__
    return False


def data_problem(cfg: Config) -> str | None:
    """The first thing that is wrong with the data of a config, or None if nothing is found.

    COCO's annotation files are read and compared with what the hosts' data sets expect of them; folders of pictures
    must hold class folders.
    """
    for key, dataset in _datasets(cfg):
        kind = str(dataset.get('type'))
        root = dataset.get('data_root') or ''
        if 'Coco' in kind:
            path = os.path.join(root, dataset.get('ann_file') or '')  # noqa: PTH118 (an absolute ann_file wins)
            problem = coco_problem(path, dataset, keypoints=cfg.get('default_scope') == 'mmpose')
        elif kind.rpartition('.')[2] in _CLASSES and not dataset.get('ann_file'):
            problem = folder_problem(Path(root, _folder(dataset)), _CLASSES[kind.rpartition('.')[2]])
        else:
            problem = None
        if problem:
            return f'{problem} {cfg.filename} asks for it in {key}.'
    return None


def coco_problem(path: str, dataset: Mapping[str, Any], *, keypoints: bool = False) -> str | None:
    """What keeps a file from being the COCO annotations that a data set needs, or None.

    Args:
        path: the file.
        dataset: its config; ``metainfo['classes']`` are looked for among the categories.
        keypoints: whether annotations need ``keypoints``.
    """
    try:
        content = json.loads(Path(path).read_text(encoding='utf-8'))
    except OSError:
        return None  # a missing file has an error of its own
    except ValueError as error:
        return f'{path} is not COCO annotations: it is not JSON, or was cut off ({error}).'
    wrong = f'{path} is not COCO annotations:'
    help_ = (
        f'The file must be an object with the lists {", ".join(_LISTS)}; '
        'mmdet has converters (tools/dataset_converters) for VOC, Cityscapes and others.'
    )
    if not isinstance(content, dict):
        results = ' as files of detection results do,' if isinstance(content, list) else ''
        return f'{wrong} it holds a {type(content).__name__},{results} not an object. {help_}'
    missing = [name for name in _LISTS if not isinstance(content.get(name), list)]
    if missing:
        return f'{wrong} it has no list {" and no list ".join(map(repr, missing))}; it has {sorted(content)}. {help_}'
    empty = [name for name in _LISTS if not content[name]]
    if empty:
        return f'{path}: {" and ".join(empty)} are empty, so there is nothing to learn from.'
    for name, keys in _LISTS.items():
        for i, entry in enumerate(content[name]):
            lacks = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if lacks:
                return f'{wrong} {name}[{i}] has no {" and no ".join(map(repr, lacks))}. {help_}'
    if keypoints and not any('keypoints' in one for one in content['annotations']):
        return (
            f"{path}: no annotation has 'keypoints', which pose estimation needs. COCO keeps them in "
            'person_keypoints_*.json, not in instances_*.json.'
        )
    wanted = (dataset.get('metainfo') or {}).get('classes')
    names = [category['name'] for category in content['categories']]
    if wanted and not set(wanted) & set(names):
        return (
            f'{path} has the categories {_some(names)}; metainfo asks for the classes {_some(wanted)}, and none of '
            "these is there. Set metainfo=dict(classes=...) and the head's num_classes to what the file has."
        )
    return None


def folder_problem(folder: Path, classes: int | None = None) -> str | None:
    """What keeps a folder from being ``folder/<class>/<picture>``, with so many classes, or None."""
    if not folder.is_dir():
        return None  # a missing folder has an error of its own
    found = [entry for entry in folder.iterdir() if entry.is_dir()]
    if not found:
        problem = 'holds no class folders'
    elif classes and len(found) != classes:
        problem = f'holds {len(found)} class folders, not {classes}'
    elif not any(True for one in found for _ in one.iterdir()):
        problem = f'holds {len(found)} class folders, which are empty'
    else:
        return None
    return (
        f'{folder} {problem}. Pictures are looked for at {folder.absolute()}/<class>/*.JPEG (or png, jpg, ...). '
        'ImageNet (ILSVRC 2012) is at https://image-net.org.'
    )


def _folder(dataset: Mapping[str, Any]) -> str:
    """mmpretrain's rule: the data prefix, or else the split."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    return prefix if isinstance(prefix, str) else prefix.get('img_path', '')


def _datasets(cfg: Config) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every data set in the loaders of a config, inside wrappers too, with its dotted key."""

    def inside(node: Any, key: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if isinstance(node, Mapping):
            if 'type' in node and ('data_root' in node or 'ann_file' in node):
                yield key, node
            items = list(node.items())
        elif isinstance(node, (list, tuple)):
            items = list(enumerate(node))
        else:
            return
        for name, value in items:
            yield from inside(value, f'{key}.{name}')

    for name in ('train', 'val', 'test'):
        loader = cfg.get(f'{name}_dataloader')
        if loader:
            yield from inside(loader, f'{name}_dataloader')


def _some(names: Any) -> str:
    names = [str(name) for name in names]
    return ', '.join(names[:5]) + (f' and {len(names) - 5} more' if len(names) > 5 else '')
