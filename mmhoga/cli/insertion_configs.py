"""Configs with and without inserted cells: ``type='mmhoga.Insert'`` as data, as a line of Python, and as a file."""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmengine.config import Config

from mmhoga.hosts import LaunchError, find_config, load_config
from mmhoga.insertion.patterns import below

CELLS = ('HOGA', 'SearchableHOGA', 'Attention')


@dataclass(frozen=True)
class Insertion:
    """A change of a config: the keys from ``model`` to the network that is replaced, and the new settings."""

    keys: tuple[str, ...]
    settings: dict[str, Any]

    @property
    def options(self) -> dict[str, Any]:
        """The nested dict that is merged into the config."""
        nested: dict[str, Any] = self.settings
        for key in reversed(self.keys):
            nested = {key: nested}
        return nested

    @property
    def line(self) -> str:
        """The line of Python."""
        return f'{self.keys[0]} = {code(self.options[self.keys[0]])}'


def insertion(cfg: Config, pattern: str, names: Sequence[str], settings: Mapping[str, Any]) -> Insertion:
    """``type='mmhoga.Insert'`` for the backbone of a config, or for its whole model if other modules match as well.

    Args:
        cfg: the config without the insertion.
        pattern: a regular expression for names of the whole model.
        names: the names of all modules of the whole model.
        settings: those of :func:`mmhoga.insertion.insert.insert_into`, where a pattern is for the whole model.

    Raises:
        LaunchError: the config inserts attention there already.
    """
    keys, node, shorter = ('model',), cfg.model, pattern
    for path in (('architecture', 'backbone'), ('backbone',)):
        inner: Any = cfg.model
        for key in path:
            inner = inner.get(key) if isinstance(inner, Mapping) else None
        relative = below('.'.join(path), pattern, names) if isinstance(inner, Mapping) and 'type' in inner else None
        if relative is not None:
            keys, node, shorter = ('model', *path), inner, relative
            break
    kind = node['type'] if isinstance(node['type'], str) else f'{node["type"].__module__}.{node["type"].__qualname__}'
    if kind in ('mmhoga.Insert', 'Insert'):
        raise LaunchError(f'{cfg.filename} inserts an attention already: {".".join(keys)}.type = {kind!r}.')
    changed = {key: shorter if key in ('after', 'before') else value for key, value in settings.items()}
    return Insertion(keys, {'type': 'mmhoga.Insert', 'into': kind, **changed})


def code(value: Any) -> str:
    """A value as configs write it: ``dict(key=value)``, and patterns as raw strings."""
    if isinstance(value, Mapping) and all(isinstance(key, str) and key.isidentifier() for key in value):
        return f'dict({", ".join(f"{key}={code(item)}" for key, item in value.items())})'
    if isinstance(value, str) and '\\' in value and "'" not in value and not value.endswith('\\'):
        return f"r'{value}'"
    return repr(value)


def without_cells(cfg: Config) -> Config:
    """A copy of a config without ``mmhoga.Insert`` and without plugins that are attentions of ours."""
    plain = copy.deepcopy(cfg)
    plain.model = _plain(plain.model)
    return plain


def _plain(node: Any) -> Any:
    if isinstance(node, (list, tuple)):
        return type(node)(_plain(item) for item in node)
    if not isinstance(node, dict):
        return node
    if _is_ours(node, ('Insert',)):
        own = ('into', 'cell', 'after', 'before', 'start', 'skip_indivisible', 'image_size', 'train_only')
        into = node['into']
        inner = {'type': into} if isinstance(into, str) else dict(into)
        node = type(node)({**inner, **{key: value for key, value in node.items() if key not in (*own, 'type')}})
        return _plain(node)
    plugins = node.get('plugins')
    if isinstance(plugins, (list, tuple)):
        kept = [p for p in plugins if not (isinstance(p, dict) and _is_ours(p.get('cfg'), CELLS))]
        if len(kept) < len(plugins):
            others = {key: value for key, value in node.items() if key != 'plugins'}
            node = type(node)({**others, **({'plugins': kept} if kept else {})})
    return type(node)({key: _plain(value) for key, value in node.items()})


def _is_ours(node: Any, kinds: Sequence[str]) -> bool:
    kind = node.get('type') if isinstance(node, dict) else None
    name = kind if isinstance(kind, str) else f'{getattr(kind, "__module__", "")}.{getattr(kind, "__qualname__", "")}'
    return name.startswith('mmhoga.') and name.rpartition('.')[2] in kinds


def without_download(change: Insertion, cfg: Config) -> Insertion:
    """The insertion with ``init_cfg=None`` for a backbone that the checkpoint to load contains anyway."""
    if pretrained_backbone(cfg) is None:
        return change
    path = ('model', 'architecture', 'backbone') if 'architecture' in cfg.model else ('model', 'backbone')
    backbone = cfg.model.get('architecture', cfg.model).backbone
    settings: dict[str, Any] = {'init_cfg' if backbone.get('init_cfg') else 'pretrained': None}
    for key in reversed(path[len(change.keys) :]):
        settings = {key: settings}
    return Insertion(change.keys, {**change.settings, **settings})


def pretrained_backbone(cfg: Config) -> str | None:
    """The checkpoint from which the backbone of a config is initialised."""
    backbone = (cfg.model.get('architecture') or cfg.model).get('backbone') or {}
    settings = backbone.get('init_cfg') or {}
    if isinstance(settings, dict) and settings.get('type') == 'Pretrained':
        return settings.get('checkpoint')
    return backbone.get('pretrained') if isinstance(backbone.get('pretrained'), str) else None


def inserted_config(cfg: Config, name: str, change: Insertion, checkpoint: Path, *, whole: bool) -> str:
    """The text of a config that inserts attention into the model of another and loads a checkpoint beside it.

    Args:
        cfg: the config without the insertion, as ``load_config(name)`` returns it.
        name: of that config; the new one inherits from it if it can be loaded that way.
        change: the insertion.
        checkpoint: the file beside the config, which may not exist yet.
        whole: write out the whole config instead of inheriting.
    """
    wanted = copy.deepcopy(cfg)
    wanted.merge_from_dict(change.options)
    imports = [*(cfg.get('custom_imports') or {}).get('imports', [])]
    wanted.custom_imports = {'imports': [*imports, *({'mmhoga'} - set(imports))]}
    load = f"load_from = '{{{{ fileDirname }}}}/{checkpoint.name}'\n"
    head = f'# {name}, with an attention that starts as the identity. Written by mmhoga insert.\n\n'
    if not whole:
        imported = f'custom_imports = {code(wanted.custom_imports)}\n'
        text = f'{head}_base_ = {_base(name, checkpoint.parent)!r}\n{imported}\n{change.line}\n{load}'
        loaded = _model_of(text, checkpoint)
        if loaded is not None and _without_scope(loaded) == _without_scope(wanted.model):
            return text
    wanted.pop('load_from', None)
    return f'{head}{wanted.pretty_text.rstrip()}\n{load}'


def _base(name: str, folder: Path) -> str:
    """The value of ``_base_`` in a config in ``folder``: relative if both are below the current folder."""
    if '::' in name:
        return name
    path, here, folder = find_config(name).resolve(), Path.cwd(), folder.resolve()
    if here in path.parents and here in (folder, *folder.parents):
        return Path(os.path.relpath(path, folder)).as_posix()
    return path.as_posix()


def _without_scope(model: Mapping[str, Any]) -> dict[str, Any]:
    """The model without the scope that mmengine adds to one that comes from ``_base_ = 'mmdet::...'``."""
    return {key: value for key, value in model.items() if key != '_scope_'}


def _model_of(text: str, beside: Path) -> Any:
    """The model of a config that was written to a folder for a moment; None if it cannot be loaded."""
    file = beside.with_name(f'{beside.stem}_{os.getpid()}.py')
    try:
        file.write_text(text, encoding='utf-8')
        return load_config(str(file)).model
    except LaunchError:  # a pure Python config is no base of this one
        return None
    finally:
        file.unlink(missing_ok=True)
