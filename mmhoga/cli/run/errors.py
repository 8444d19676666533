"""Mistakes in how a run was started, told in one paragraph instead of a traceback."""

from __future__ import annotations

import os
import re
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Callable

from mmengine.config import Config

from mmhoga.cli.run.annotations import came_from_data, data_problem
from mmhoga.files import near_names
from mmhoga.hosts import LaunchError, leaves

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, as shells report it


def run(main: Callable[[], None]) -> int:
    """Call ``main``; return the exit code. ``MMHOGA_DEBUG=1`` lets tracebacks through."""
    try:
        main()
    except KeyboardInterrupt:
        print('interrupted', file=sys.stderr)
        return EXIT_INTERRUPTED
    except LaunchError as error:
        if os.environ.get('MMHOGA_DEBUG'):
            raise
        print(f'error: {error}', file=sys.stderr)
        return EXIT_BAD_INPUT
    return 0


@contextmanager
def explained(cfg: Config) -> Iterator[None]:
    """Turn what a run meets when data or weights are not there, or are not what they should be, into a LaunchError."""
    try:
        yield
    except urllib.error.URLError as error:
        raise LaunchError(
            f'a download failed ({error.reason}). The lines above name the address and the place '
            'where the file goes; without a network, fetch it elsewhere and put it there.'
        ) from error
    except LaunchError:
        raise
    except Exception as error:
        path = (
            _missing_path(error) if isinstance(error, (FileNotFoundError, AssertionError)) else None
        )  # mmpose asserts
        if path is not None:
            raise LaunchError(_missing(cfg, path)) from error
        problem = data_problem(cfg) if came_from_data(error) else None
        if problem is None:
            raise
        raise LaunchError(problem) from error


def _missing_path(error: BaseException | None) -> str | None:
    """The local path that an error, or one of its causes, says is not there."""
    while error is not None:
        filename = getattr(error, 'filename', None)
        if isinstance(error, FileNotFoundError) and filename is not None:
            return os.fspath(filename)
        text = str(error)  # a data loader's worker sends only the text of its error
        if re.search(r'[Nn]o such file|not exist|not be found|not found', text):
            quoted = re.findall(r"""["'`]([^"'`\n]+)["'`]""", text)
            for word in [*quoted, *text.split()]:
                has_suffix = isinstance(error, FileNotFoundError) and Path(word).suffix
                if (os.sep in word or has_suffix) and not Path(word).exists():
                    return word
        error = error.__cause__ or error.__context__
    return None


def _missing(cfg: Config, path: str) -> str:
    looked_for = Path(path).absolute()
    message = f'there is no {path} (looked for {looked_for}).'
    origin = find_origin(cfg, path)
    if origin is None:
        return message
    keys, root = origin
    message += f' {cfg.filename} asks for it: {keys}.'
    if Path(root).exists():
        return message + near_names(looked_for)
    place = Path(root)
    if place.name in _GENERATED:
        return f'{message} It is generated, in seconds: mmhoga make-data {place.name} --out {place.parent}'
    for name, how in _SOURCES.items():
        if name in place.parts:
            message += f' {how}'
    link = f'mkdir -p {place.parent} && ln -s /where/it/is {place}'
    return f'{message} If you have it elsewhere, a link is enough: {link}'


_GENERATED = ('shapes', 'people')
_SOURCES = {
    'imagenet': 'ImageNet (ILSVRC 2012) is at https://image-net.org; unpack it as '
    'train/<class>/*.JPEG and val/<class>/*.JPEG.',
    'coco': 'COCO is at https://cocodataset.org; unpack it as annotations/*.json, train2017/*.jpg and val2017/*.jpg.',
}


def find_origin(cfg: Config, path: str) -> tuple[str, str] | None:
    """Which keys of a config a path was put together from.

    A path is one value (``ann_file``), or a folder (``data_root``) and something below it, which
    stand in one dict. The dict that explains the most characters of the path is the answer.

    Returns:
        ``('a.b.data_root = ..., a.b.ann_file = ...', value of the folder)``, or None.
    """
    path = os.path.normpath(path)
    best, answer = 0, None
    sections: dict[str, list[tuple[str, str]]] = {}
    for key, value in leaves(cfg):
        section = key.rpartition('.')[0].removesuffix('.data_prefix')
        if section or key == 'load_from':  # a variable of the config reaches no constructor
            sections.setdefault(section, []).append((key, value))
    for section_leaves in sections.values():
        normal = [(key, value, os.path.normpath(value)) for key, value in section_leaves if value]
        heads = [leaf for leaf in normal if path == leaf[2] or path.startswith(leaf[2] + os.sep)]
        if not heads:
            continue
        head = max(heads, key=lambda leaf: len(leaf[2]))
        rest = path[len(head[2]) + 1 :]
        tails = [leaf for leaf in normal if (rest + os.sep).startswith(leaf[2] + os.sep)]
        score = len(head[2]) + max((len(leaf[2]) for leaf in tails), default=0)
        if score > best:
            keys = ', '.join(f'{key} = {value!r}' for key, value, _ in [head, *tails[:1]])
            best, answer = score, (keys, head[1])
    return answer
