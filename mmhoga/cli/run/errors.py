"""Errors before the first step are printed as one paragraph, with exit code 2. Later ones keep their traceback.

Faults of the data and of the machine, for which a message is written here, are one paragraph at any time.

The files that a config names are checked only after a failure, so a run without errors spends no time on this.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable

from mmengine.config import Config

from mmhoga.cli.run.pictures import PictureError
from mmhoga.cli.values import printable
from mmhoga.compat.checkpoint import CheckpointError
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, build_problem, leaves, one_paragraph, walk

LONGEST = 2000  # characters of a message
COCO_LISTS = ('images', 'annotations', 'categories')
SOURCES = {
    'imagenet': ' ImageNet (ILSVRC 2012) is at https://image-net.org; unpack it as '
    'train/<class>/*.JPEG and val/<class>/*.JPEG.',
    'coco': ' COCO is at https://cocodataset.org; unpack it as annotations/*.json, train2017/*.jpg and val2017/*.jpg.',
}


def run(main: Callable[[], object], *bad_input: type[Exception]) -> int:
    """Call ``main`` and return the exit code: 2 for any exception, unless :func:`keep_traceback` was called with it.

    Exceptions are printed as one paragraph: of a LaunchError and of the types ``bad_input`` the message, of others also
    the type. With ``MMHOGA_DEBUG=1``, they are raised with their traceback.
    """
    reported: tuple[type[Exception], ...] = (LaunchError, *bad_input)
    try:
        main()
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return 130  # 128 + SIGINT, as shells report it
    except BrokenPipeError:  # nobody reads the output any more
        raise
    except Exception as error:
        if os.environ.get('MMHOGA_DEBUG') or getattr(error, _KEEPS, False):
            raise
        expected = isinstance(error, reported)
        text = str(error) if expected else f'{one_paragraph(error)} (MMHOGA_DEBUG=1 shows the traceback.)'
        print(f'error: {shown(text)}', file=sys.stderr)
        return 2
    return 0


_KEEPS = '_mmhoga_keeps_traceback'


def keep_traceback(error: Exception) -> None:
    """Mark an exception that :func:`run` must not print as a paragraph, because a run was in the middle of its work."""
    setattr(error, _KEEPS, True)


def shown(text: str) -> str:
    """A message for the terminal: without control characters but line breaks, and without the middle if it is long."""
    text = '\n'.join(map(printable, text.expandtabs().split('\n')))
    if len(text) > LONGEST:
        text = f'{text[: LONGEST // 2]} [...] {text[-LONGEST // 2 :]}'
    return text


@contextmanager
def explained(cfg: Config, parts: Sequence[str], has_started: Callable[[], bool] = lambda: False) -> Iterator[None]:
    """Convert an exception into a LaunchError about a problem in the data of ``parts`` or, without one, in the config.

    Parts are ``train``, ``val`` and ``test``. Once ``has_started`` returns True, exceptions pass unchanged.
    """
    try:
        yield
    except LaunchError:
        raise
    except PictureError as error:
        raise LaunchError(
            f'{one_paragraph(error).partition("PictureError: ")[2]} Replace it, or remove it from the data set.'
        ) from error
    except CheckpointError as error:
        raise LaunchError(str(error)) from error
    except urllib.error.URLError as error:
        raise LaunchError(
            f'a download failed ({error.reason}). The lines above name the address and the target path. '
            'Without a network, download the file elsewhere and copy it to that path.'
        ) from error
    except Exception as error:
        if has_started():
            raise
        raise LaunchError(data_problem(cfg, parts) or build_problem(cfg, error)) from error


def data_problem(cfg: Config, parts: Sequence[str]) -> str | None:
    """The first problem with the data sets and checkpoints that the config names, or None."""
    sections = {f'{part}_{kind}': cfg.get(f'{part}_{kind}') for part in parts for kind in ('dataloader', 'evaluator')}
    sections['train_cfg'] = cfg.get('train_cfg') if 'train' in parts else None
    for key, node in walk(sections):
        reads_files = isinstance(node, Mapping) and 'type' in node and (node.get('data_root') or node.get('ann_file'))
        if reads_files and (problem := _dataset_problem(node, key, cfg)):
            return problem
    for key, value in leaves({'model': cfg.get('model') or {}, 'load_from': cfg.get('load_from')}):
        if key.endswith(('checkpoint', 'load_from')) and '://' not in value and value and not Path(value).is_file():
            origin = f'The path is set in {cfg.filename}: {key} = {value!r}.'
            return f'{value} is a folder. {origin}' if Path(value).exists() else _missing(value, '', origin)
    return None


def _dataset_problem(dataset: Mapping[str, Any], key: str, cfg: Config) -> str | None:
    """The first problem with the files of a data set, or of a metric that reads annotations."""
    root, kind = dataset.get('data_root') or '', str(dataset.get('type')).rpartition('.')[2]
    if '://' in root:
        return None
    pictures = 'split' if 'ImageNet' in kind and not dataset.get('data_prefix') else 'data_prefix'
    for name, value in leaves({name: dataset.get(name) for name in ('ann_file', pictures, 'bbox_file', 'data_root')}):
        below = '' if name in ('bbox_file', 'data_root') or Path(value).is_absolute() else root
        path = os.path.join(below, value)  # noqa: PTH118 (as mmengine)
        if value and '://' not in value and not Path(path).exists():
            keys = f'{key}.data_root = {root!r}, {key}.{name} = {value!r}' if below else f'{key}.{name} = {value!r}'
            return _missing(path, root, f'The path is set in {cfg.filename}: {keys}.')
    annotations, problem = Path(root, dataset.get('ann_file') or ''), None
    if 'Coco' in kind and annotations.is_file():
        problem = _coco_problem(
            annotations, (dataset.get('metainfo') or {}).get('classes'), cfg.get('default_scope') == 'mmpose'
        )
    elif kind in ('ImageNet', 'CustomDataset') and not dataset.get('ann_file'):
        prefix = dataset.get(pictures) or ''
        folder = Path(root, prefix if isinstance(prefix, str) else prefix.get('img_path', ''))
        if not any(entry.is_dir() for entry in folder.iterdir()):
            problem = (
                f'{folder} contains no class folders. Pictures are expected at {folder.absolute()}/<class>/*.JPEG '
                f'(or png, jpg, ...).{SOURCES["imagenet"] if kind == "ImageNet" else ""}'
            )
    return problem and f'{problem} The path is set in {cfg.filename}: {key}.'


def _coco_problem(path: Path, classes: Sequence[str] | None, needs_keypoints: bool) -> str | None:
    """The reason why a file is not the COCO annotation file that a data set needs, or None."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        return f'{path} is not a COCO annotation file: it is not JSON, or was cut off ({error}).'
    if not isinstance(content, dict):
        return f'{path} is not a COCO annotation file: it is a {type(content).__name__}, as detection results are.'
    missing = [name for name in COCO_LISTS if not isinstance(content.get(name), list)]
    if missing:
        return (
            f'{path} is not a COCO annotation file: it has no list {" and no list ".join(map(repr, missing))}. '
            f'Its keys are {sorted(content)}. mmdet converts VOC, Cityscapes and others (tools/dataset_converters).'
        )
    if needs_keypoints and not any('keypoints' in annotation for annotation in content['annotations']):
        return f'{path} has no keypoints. COCO keeps them in person_keypoints_*.json, not in instances_*.json.'
    names = [str(category.get('name')) for category in content['categories']]
    if classes and not set(classes) & set(names):
        return (
            f'{path} has the categories {", ".join(names[:5])}, but none of those in metainfo: '
            f'{", ".join(list(classes)[:5])}. '
            "Set metainfo=dict(classes=...) and the head's num_classes to match the file."
        )
    return None


def _missing(path: str, root: str, origin: str) -> str:
    """State that a path does not exist and where to get the data."""
    message = f'there is no {path} (looked for {Path(path).absolute()}). {origin}'
    place = Path(root)
    if not root or place.exists():
        return message + near_names(Path(path))
    if place.name in ('shapes', 'people', 'figures'):  # figures: the former name of people
        return f'{message} Generate it in seconds: mmhoga make-data {place.name} --out {place.parent}'
    source = ''.join(text for name, text in SOURCES.items() if name in place.parts)
    link = f'mkdir -p {place.parent} && ln -s /where/it/is {place}'
    return f'{message}{source} If you have it elsewhere, link it: {link}'
