"""Reading a config, and the hosts (mmdet, mmpretrain, mmpose) that it needs."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import re
import reprlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from mmhoga.compat.packages import INSTALL
from mmhoga.files import near_names
from mmhoga.genotype import Genotype, GenotypeError
from mmhoga.host_resnets import replaced_class_problem


class LaunchError(Exception):
    """A mistake in a command line, a config or the data. The message is for users and includes the remedy."""


def shipped_configs() -> Path:
    """The folder of the configs that come with the package: in a wheel ``mmhoga/.mim/configs``."""
    package = Path(__file__).resolve().parent
    installed = package / '.mim' / 'configs'
    return installed.resolve() if installed.is_dir() else package.parent / 'configs'


def find_config(name: str) -> Path:
    """Find a config by its path or, among those that come with the package, by its name.

    A name may lack ``.py`` and may include folders: ``digits/resnet8_1xb96-8e_digits``. A config that comes with a host
    has the name of the host first, as in ``_base_``: ``mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py``.

    Raises:
        LaunchError: there is no such config. The message lists similar names.
    """
    host, mark, below = name.partition('::')
    if mark:
        return _config_of_host(name, host, below)
    path = Path(name)
    if path.is_file():
        return path
    shipped = [config for config in sorted(shipped_configs().rglob('*.py')) if '_base_' not in config.parts]
    for config in shipped:
        if config.match(name if path.suffix == '.py' else f'{name}.py'):  # from the right, so folders may be left out
            return config
    near = near_names(path, [config.stem for config in shipped])
    raise LaunchError(f'there is no config {name}, neither as a file nor in mmhoga.{near}')


def _config_of_host(name: str, host: str, below: str) -> Path:
    spec = importlib.util.find_spec(host) if host in INSTALL else None
    if spec is None or not spec.origin:
        remedy = f'is not installed: {INSTALL[host]}' if host in INSTALL else f'is none of {", ".join(INSTALL)}'
        raise LaunchError(f'there is no config {name}: {host} {remedy}.')
    folder = Path(spec.origin).parent / '.mim' / 'configs'
    found = [path for path in (folder / below, folder / f'{below}.py') if path.is_file()]
    if not found:
        raise LaunchError(f'there is no config {name}.{near_names(folder / below)}')
    return found[0]


def load_config(name: str, options: dict | None = None) -> Config:
    """Read a config, override the dotted keys of ``options``, and check that the hosts it needs are installed.

    ``name`` is a path, or the name of a config that comes with the package. Modules in a config's ``custom_imports``
    are also searched for in the current folder, as with ``python -m``.

    Raises:
        LaunchError: the config, one of its bases or a module is missing or wrong, or a host is not installed.
    """
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    path = str(find_config(name))
    try:
        cfg = Config.fromfile(path)
        list(leaves(cfg))  # makes a pure Python config import its modules
    except (Exception, SystemExit) as error:
        raise LaunchError(_reading_problem(path, error)) from error
    _require_known(cfg, options or {})
    try:
        cfg.merge_from_dict(options or {})
    except Exception as error:
        raise LaunchError(f'--cfg-options does not fit {path}: {one_paragraph(error)}') from error
    for key, host in hosts_of(cfg):
        if importlib.util.find_spec(host) is None:
            raise LaunchError(_not_installed(path, host, key))
    if problem := replaced_class_problem(cfg, path, walk(cfg)):
        raise LaunchError(f'{path}: {problem}')
    inline_genotypes(cfg)
    return cfg


def _require_known(cfg: Config, options: dict) -> None:
    """Refuse an option whose first key is new in the config and looks like a misspelt one."""
    known = {*cfg, *inspect.signature(Runner).parameters}
    for key in options:
        first = key.partition('.')[0]
        near = difflib.get_close_matches(first, known, n=1, cutoff=0.8)
        if first not in known and near:
            raise LaunchError(f'--cfg-options: {cfg.filename} has no {first}. Did you mean {near[0]}?')


def require_model(cfg: Config) -> None:
    """Raise a LaunchError if a config has no model."""
    model = cfg.get('model')
    if not isinstance(model, dict) or 'type' not in model:
        found = reprlib.repr(model) if 'model' in cfg else 'none'
        raise LaunchError(f'{cfg.filename} is no config of a network: model must be dict(type=...), found {found}.')


def inline_genotypes(cfg: Config) -> None:
    """Replace the path of each genotype by its rows, in place.

    A run dumps its config to the work_dir and into its checkpoints. With the rows in it, the network can be built
    from them on another machine, and does not change with the file. A file that does not exist stays a path: building
    the model reports it.

    Raises:
        LaunchError: a file that is no genotype.
    """
    for key, node in walk(cfg):
        genotype = node.get('genotype') if isinstance(node, dict) else None
        if isinstance(genotype, str) and genotype.endswith('.json'):
            try:
                node['genotype'] = [list(row) for row in Genotype.load(genotype).edges]
            except FileNotFoundError:
                continue
            except GenotypeError as error:
                raise LaunchError(f'{key}.genotype: {error}') from error


def _reading_problem(path: str, error: BaseException) -> str:
    """Explain why mmengine cannot read a config."""
    if isinstance(error, ModuleNotFoundError) and error.name == 'pkg_resources':
        return (
            f'{path}: mmengine resolves bases like mmdet::... through pkg_resources, which '
            "setuptools no longer includes: pip install 'setuptools<81'."
        )
    for host in INSTALL:
        if f'{host} is not installed' in str(error):
            return _not_installed(path, host, f"_base_ = '{host}::...'")
    if isinstance(error, ImportError) and str(error).startswith('Failed to import'):  # mmengine, custom_imports
        failed = error.__cause__ or error  # the cause names the module, and its context has Python's message
        return (
            f'{path}: custom_imports: {failed}: {failed.__context__}. Modules are searched for in {Path.cwd()} and on '
            "Python's path: start in another folder, or set PYTHONPATH."
        )
    return f'{path} cannot be read: {one_paragraph(error)}'


def _not_installed(path: str, host: str, key: str) -> str:
    return f'{path} needs {host} ({key}), which is not installed: {INSTALL[host]}.'


def one_paragraph(error: BaseException) -> str:
    """Type and message of an exception, without line breaks and without a worker's traceback."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    if 'Original Traceback' in text:  # from a worker of a data loader
        return text.strip().splitlines()[-1]
    return f'{type(error).__name__}: {" ".join(text.split())}'.removesuffix(': ')


def hosts_of(cfg: Config) -> Iterator[tuple[str, str]]:
    """Every mention of a host, as ``(place, host)``: ``default_scope``, ``_scope_``, ``type``."""
    for key, value in leaves(cfg):
        name = key.rpartition('.')[2]
        host, dot, _ = value.partition('.')
        if host in INSTALL and (name in ('default_scope', '_scope_') or (name == 'type' and dot)):
            yield f'{key} = {value!r}', host


def import_mmpretrain(cfg: Config) -> None:
    """Import mmpretrain before its registries do, and without mmdet unless the config mentions it.

    If mmdet is installed, mmpretrain imports all of it to register one shared head. That takes as long as importing
    mmpretrain itself, and the demo and the tests start many runs.
    """
    if {host for _, host in hosts_of(cfg)} != {'mmpretrain'} or 'mmdet' in sys.modules:
        return
    sys.modules['mmdet'] = None  # type: ignore[assignment]  # makes Python refuse the import
    try:
        importlib.import_module('mmpretrain.models')
    finally:
        del sys.modules['mmdet']


def config_scope(cfg: Config) -> str:
    """The registry scope in which a config's types are looked up."""
    return cfg.get('default_scope') or 'mmengine'


def set_preprocessor(cfg: Config) -> None:
    """Move a top-level preprocessor (``preprocess_cfg`` in mmpose) into the model's config, as the hosts' tools do."""
    for key in ('preprocess_cfg', 'data_preprocessor'):
        if cfg.get(key) and 'model' in cfg:
            cfg.model.setdefault('data_preprocessor', cfg[key])


def build_model(cfg: Config) -> nn.Module:
    """Build ``cfg.model`` in training mode with random weights. The default scope is the same afterwards.

    Raises:
        LaunchError: the model cannot be built. The message names the config's key.
    """
    require_model(cfg)
    set_preprocessor(cfg)
    try:
        with DefaultScope.overwrite_default_scope(config_scope(cfg)):
            return MODELS.build(cfg.model)
    except Exception as error:
        raise LaunchError(build_problem(cfg, error)) from error


def build_problem(cfg: Config, error: BaseException) -> str:
    """An exception's message, with the config's key of the value that it quotes or of the part that was being built."""
    text, kind, trace = one_paragraph(error), None, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_name == 'build_from_cfg':  # mmengine's; the last one is the innermost part
            kind = trace.tb_frame.f_locals.get('obj_type', kind)
        trace = trace.tb_next
    places = [*leaves({'model': cfg.get('model') or {}}), *leaves(cfg)]  # other variables may repeat the model
    places.sort(key=lambda place: '.' not in place[0])  # variables such as dataset_type last
    keys = {value: key for key, value in reversed(places)}
    for wanted in [*re.findall(r"'([^']+)'", text), getattr(kind, '__name__', kind)]:
        if wanted in keys:
            text = f'{keys[wanted]} = {wanted!r}: {text}'
            break
    return f'{cfg.filename or "the config"}: {text} (MMHOGA_DEBUG=1 shows the traceback.)'


def walk(node: Any, prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Every value in nested dicts and lists, with its dotted key."""
    for name, value in node.items() if isinstance(node, (dict, Config)) else enumerate(node):
        key = f'{prefix}{name}'
        yield key, value
        if isinstance(value, (dict, list, tuple)):
            yield from walk(value, f'{key}.')


def leaves(node: Any) -> Iterator[tuple[str, str]]:
    """Every string in nested dicts and lists, with its dotted key."""
    return ((key, value) for key, value in walk(node) if isinstance(value, str))
