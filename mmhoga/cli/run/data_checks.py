"""Checks of the files and folders that a config names. They run after a failure, so good data cost no time."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhoga.files import near_names
from mmhoga.hosts import leaves

PARTS = ('train', 'val', 'test')

_LISTS = {
    'images': ('id', 'file_name', 'height', 'width'),
    'annotations': ('id', 'image_id', 'category_id', 'bbox', 'area'),
    'categories': ('id', 'name'),
}
_GENERATED = ('shapes', 'people', 'figures')  # the last is an older name of people
_SOURCES = {
    'imagenet': 'ImageNet (ILSVRC 2012) is at https://image-net.org; unpack it as '
    'train/<class>/*.JPEG and val/<class>/*.JPEG.',
    'coco': 'COCO is at https://cocodataset.org; unpack it as annotations/*.json, train2017/*.jpg and val2017/*.jpg.',
}


def data_problem(cfg: Config, parts: Sequence[str] = PARTS) -> str | None:
    """The first problem with the files that the config names, or None.

    Files and folders must exist. COCO annotations must have the entries that the hosts read, and a folder of pictures
    must contain class folders.
    """
    sections = {f'{part}_{kind}': cfg.get(f'{part}_{kind}') for part in parts for kind in ('dataloader', 'evaluator')}
    sections['train_cfg'] = cfg.get('train_cfg') if 'train' in parts else None
    for key, dataset in _datasets(sections):
        root, kind = dataset.get('data_root') or '', str(dataset.get('type')).rpartition('.')[2]
        for path, keys in _paths(dataset, root, key):
            if not Path(path).exists():
                return _missing(path, root, f'The path is set in {cfg.filename}: {keys}.')
        annotations, problem = Path(root, dataset.get('ann_file') or ''), None
        if 'Coco' in kind and annotations.is_file():
            problem = coco_problem(annotations, dataset, keypoints=cfg.get('default_scope') == 'mmpose')
        elif kind in ('ImageNet', 'CustomDataset') and not dataset.get('ann_file') and '://' not in root:
            problem = folder_problem(Path(root, _folder(dataset)), 1000 if kind == 'ImageNet' else None)
        if problem:
            return f'{problem} The path is set in {cfg.filename}: {key}.'
    for key, value in leaves({'model': cfg.get('model') or {}, 'load_from': cfg.get('load_from') or ''}):
        if key.endswith(('checkpoint', 'load_from')) and '://' not in value and value and not Path(value).exists():
            return _missing(value, '', f'The path is set in {cfg.filename}: {key} = {value!r}.')
    return None


def coco_problem(path: Path, dataset: Mapping[str, Any], *, keypoints: bool = False) -> str | None:
    """The reason why a file is not the COCO annotations that a data set needs, or None.

    Args:
        path: the file.
        dataset: its config. One of ``metainfo['classes']`` at least must be among the categories.
        keypoints: whether annotations need ``keypoints``.
    """
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        return f'{path} is not COCO annotations: it is not JSON, or was cut off ({error}).'
    wrong = f'{path} is not COCO annotations:'
    remedy = (
        f'The file must be an object with the lists {", ".join(_LISTS)}; '
        'mmdet has converters (tools/dataset_converters) for VOC, Cityscapes and others.'
    )
    if not isinstance(content, dict):
        results = ' as files of detection results do,' if isinstance(content, list) else ''
        return f'{wrong} it holds a {type(content).__name__},{results} not an object. {remedy}'
    missing = [name for name in _LISTS if not isinstance(content.get(name), list)]
    if missing:
        return f'{wrong} it has no list {" and no list ".join(map(repr, missing))}; it has {sorted(content)}. {remedy}'
    for name, keys in _LISTS.items():
        if not content[name]:
            return f'{path}: the list {name!r} is empty, so there is nothing to learn from.'
        for i, entry in enumerate(content[name]):
            lacks = [key for key in keys if not isinstance(entry, dict) or key not in entry]
            if lacks:
                return f'{wrong} {name}[{i}] has no {" and no ".join(map(repr, lacks))}. {remedy}'
    if keypoints and not any('keypoints' in one for one in content['annotations']):
        return (
            f"{path}: no annotation has 'keypoints', which pose estimation needs. COCO keeps them in "
            'person_keypoints_*.json, not in instances_*.json.'
        )
    wanted = (dataset.get('metainfo') or {}).get('classes')
    names = [category['name'] for category in content['categories']]
    if wanted and not set(wanted) & set(names):
        return (
            f'{path} has the categories {", ".join(names[:5])}; metainfo asks for {", ".join(list(wanted)[:5])}, and '
            "none of them is there. Set metainfo=dict(classes=...) and the head's num_classes to match the file."
        )
    return None


def folder_problem(folder: Path, classes: int | None) -> str | None:
    """The reason why a folder is not ``folder/<class>/<picture>``, or None."""
    subfolders = [entry for entry in folder.iterdir() if entry.is_dir()]
    if not subfolders:
        problem = 'contains no class folders'
    elif classes and len(subfolders) != classes:
        problem = f'contains {len(subfolders)} class folders, not {classes}'
    elif not any(True for one in subfolders for _ in one.iterdir()):
        problem = f'contains {len(subfolders)} class folders, which are empty'
    else:
        return None
    return (
        f'{folder} {problem}. Pictures are expected at {folder.absolute()}/<class>/*.JPEG (or png, jpg, ...). '
        'ImageNet (ILSVRC 2012) is at https://image-net.org.'
    )


def _datasets(node: Any, prefix: str = '') -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every data set and metric that reads files, including those in wrappers, with its dotted key."""
    if isinstance(node, Mapping):
        files = [node.get('data_root') or '', node.get('ann_file') or '']
        if 'type' in node and any(files) and all(isinstance(path, str) for path in files):
            yield prefix, node
        children = list(node.items())
    else:
        children = list(enumerate(node)) if isinstance(node, (list, tuple)) else []
    for name, child in children:
        yield from _datasets(child, f'{prefix}.{name}' if prefix else str(name))


def _paths(dataset: Mapping[str, Any], root: str, key: str) -> Iterator[tuple[str, str]]:
    """Every local file and folder of a data set, the root last, with the keys that set it."""
    prefix = dataset.get('data_prefix') or {}
    named = {'ann_file': dataset.get('ann_file')}
    named.update(
        {'data_prefix': prefix} if isinstance(prefix, str) else {f'data_prefix.{k}': prefix[k] for k in prefix}
    )
    if not prefix and 'ImageNet' in str(dataset.get('type')):
        named['split'] = dataset.get('split')
    for name, value in [*named.items(), ('bbox_file', dataset.get('bbox_file')), ('data_root', root)]:
        if not isinstance(value, str) or not value or '://' in root + value:
            continue
        below = root if name not in ('bbox_file', 'data_root') and not Path(value).is_absolute() else ''
        keys = [f'{key}.data_root = {root!r}'] if below else []
        yield os.path.join(below, value), ', '.join([*keys, f'{key}.{name} = {value!r}'])  # noqa: PTH118 (as mmengine)


def _folder(dataset: Mapping[str, Any]) -> str:
    """The folder of pictures as mmpretrain finds it: the data prefix or else the split."""
    prefix = dataset.get('data_prefix') or dataset.get('split') or ''
    return prefix if isinstance(prefix, str) else prefix.get('img_path', '')


def _missing(path: str, root: str, origin: str) -> str:
    """State that a path does not exist and where to get the data."""
    looked_for = Path(path).absolute()
    message = f'there is no {path} (looked for {looked_for}). {origin}'
    if not root or Path(root).exists():
        return message + near_names(looked_for)
    place = Path(root)
    if place.name in _GENERATED:
        return f'{message} It is generated, in seconds: mmhoga make-data {place.name} --out {place.parent}'
    source = ''.join(f' {text}' for name, text in _SOURCES.items() if name in place.parts)
    link = f'mkdir -p {place.parent} && ln -s /where/it/is {place}'
    return f'{message}{source} If you have it elsewhere, a link is enough: {link}'
