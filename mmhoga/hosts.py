"""Reading a config, and the hosts (mmdet, mmpretrain, mmpose) that it needs."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch import nn

from mmhoga.files import near_names


class LaunchError(Exception):
    """What is wrong with a command line, a config or the data, and what to do about it."""


EXTRAS = {'mmdet': 'det', 'mmpretrain': 'cls', 'mmpose': 'pose'}


def load_config(path: str, options: dict | None = None) -> Config:
    """Read a config, override keys of it, and make sure that the hosts it needs are installed.

    A config's ``custom_imports`` also find modules below the folder that the command was started in, as with
    ``python -m``.

    Raises:
        LaunchError: no such config or base, a host that is not installed, or a module that cannot be imported.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    if not Path(path).is_file():
        raise LaunchError(f'there is no config {path}.{near_names(Path(path))}')
    try:
        cfg = Config.fromfile(path)
    except ModuleNotFoundError as error:
        if error.name == 'pkg_resources':
            raise LaunchError(
                f'{path}: mmengine resolves bases like mmdet::... through pkg_resources, which '
                "setuptools no longer ships: pip install 'setuptools<81'."
            ) from error
        base = next((host for host in EXTRAS if f'{host} is not installed' in str(error)), None)
        if base is None:
            raise
        raise LaunchError(_not_installed(path, base, f"_base_ = '{base}::...'")) from error
    except FileNotFoundError as error:
        raise LaunchError(f'{path}: a file that it builds on is missing: {error}') from error
    except ImportError as error:
        if not str(error).startswith('Failed to import'):  # mmengine's words on custom_imports
            raise
        failed = error.__cause__ or error  # 'Failed to import NAME', from what Python said
        raise LaunchError(
            f'{path}: custom_imports: {failed}: {failed.__context__}. Modules are looked for in the current folder, '
            f'{here}, and where Python looks: start in another folder, or set PYTHONPATH.'
        ) from error
    if options:
        cfg.merge_from_dict(options)
    for key, host in hosts_of(cfg):
        if importlib.util.find_spec(host) is None:
            raise LaunchError(_not_installed(path, host, key))
    return cfg


def hosts_of(cfg: Config) -> Iterator[tuple[str, str]]:
    """Every mention of a host, as ``(place, host)``: ``default_scope``, ``_scope_``, ``type``."""
    for key, value in leaves(cfg):
        name = key.rpartition('.')[2]
        host, dot, _ = value.partition('.')
        if host in EXTRAS and (name in ('default_scope', '_scope_') or (name == 'type' and dot)):
            yield f'{key} = {value!r}', host


def import_mmpretrain(cfg: Config) -> None:
    """Import mmpretrain ahead of its registries, without mmdet unless the config mentions it.

    mmpretrain imports all of mmdet, where it is installed, to register one shared head there. That
    takes as long as importing mmpretrain itself, and a demo or a test starts many runs.
    """
    hosts = {host for _, host in hosts_of(cfg)}
    if hosts != {'mmpretrain'} or 'mmdet' in sys.modules:
        return
    sys.modules['mmdet'] = None  # type: ignore[assignment]  # Python's way to forbid an import
    try:
        importlib.import_module('mmpretrain.models')
    finally:
        del sys.modules['mmdet']


def _not_installed(path: str, host: str, key: str) -> str:
    install = f"pip install 'mmhoga[{EXTRAS[host]}]'"
    if host == 'mmpose':  # the extra is all that it needs but chumpy, which does not build and is not used
        install += " && pip install --no-deps 'mmpose>=1.3.2'"
    return f'{path} needs {host} ({key}), which is not installed: {install}.'


def config_scope(cfg: Config) -> str:
    """The registry scope in which a config's types are looked up."""
    return cfg.get('default_scope') or 'mmengine'


def build_model(cfg: Config) -> nn.Module:
    """Build ``cfg.model``, in training mode and with random weights; the default scope is as before afterwards."""
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with DefaultScope.overwrite_default_scope(config_scope(cfg)):
        return MODELS.build(cfg.model)


def leaves(node, prefix: str = '') -> Iterator[tuple[str, str]]:
    """Every string in nested dicts and lists, with its dotted key."""
    items = node.items() if isinstance(node, (dict, Config)) else enumerate(node)
    for name, value in items:
        key = f'{prefix}{name}'
        if isinstance(value, str):
            yield key, value
        elif isinstance(value, (dict, list, tuple)):
            yield from leaves(value, f'{key}.')
