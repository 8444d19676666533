"""The ResNets of the hosts that ``mmhoga.ResNet`` can stand for, the settings that this takes, and the others."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

_MMDET = dict(out_indices=(0, 1, 2, 3), norm_eval=True)
_RESNEXT = dict(groups=32, width_per_group=4)

#: For each host, the arguments of ``mmhoga.ResNet`` that a class of the host has by default.
#: None: no arguments make ``mmhoga.ResNet`` this network.
EQUIVALENTS: dict[str, dict[str, dict[str, Any] | None]] = {
    'mmdet': {
        'ResNet': _MMDET,
        'ResNetV1d': dict(_MMDET, deep_stem=True, avg_down=True),
        'ResNeXt': _MMDET,
        **dict.fromkeys(
            ('DetectoRS_ResNet', 'DetectoRS_ResNeXt', 'RegNet', 'Res2Net', 'ResNeSt', 'TridentResNet'), None
        ),
    },
    'mmpretrain': {
        'ResNet': {},
        'ResNetV1c': dict(deep_stem=True),
        'ResNetV1d': dict(deep_stem=True, avg_down=True),
        'ResNeXt': _RESNEXT,
        **dict.fromkeys(
            (
                *('CSPResNet', 'CSPResNeXt', 'RegNet', 'Res2Net', 'ResNeSt', 'ResNet_CIFAR'),
                *('SEResNet', 'SEResNeXt', 'SparseResNet'),
            ),
            None,
        ),
    },
    'mmpose': {
        'ResNet': {},
        'ResNetV1d': dict(deep_stem=True, avg_down=True),
        'ResNeXt': _RESNEXT,
        **dict.fromkeys(('RegNet', 'ResNeSt', 'SCNet', 'SEResNet', 'SEResNeXt', 'ViPNAS_ResNet'), None),
    },
}

# Arguments that only other networks have, each with the classes that have it.
FOREIGN_ARGUMENTS: dict[str, tuple[str, ...]] = {
    'se_ratio': ('SEResNet', 'SEResNeXt'),
    **dict.fromkeys(('radix', 'reduction_factor', 'avg_down_stride'), ('ResNeSt',)),
    'scales': ('Res2Net',),
    'arch': ('RegNet',),
    **dict.fromkeys(('sac', 'stage_with_sac', 'rfp_inplanes', 'output_img'), ('DetectoRS_ResNet',)),
    **dict.fromkeys(('num_branch', 'test_branch_idx', 'trident_dilations'), ('TridentResNet',)),
    **dict.fromkeys(('wid', 'expan', 'dep', 'ks', 'group', 'att'), ('ViPNAS_ResNet',)),
    'act_cfg': ('CSPResNet',),
}


def keep_class(classes: str, *, why: str) -> str:
    """A message for a network that ``mmhoga.ResNet`` is not."""
    return (
        f'{why} mmhoga.ResNet is a ResNet, ResNetV1c, ResNetV1d, wide ResNet or ResNeXt. To add attention to another '
        f"network, keep its class: backbone=dict(type='mmhoga.Insert', into={classes.split(' or ')[0]!r}, "
        "cell=dict(type='mmhoga.HOGA'), after=PATTERN, ...)."
    )


def refuse_arguments(network: str, arguments: Mapping[str, Any]) -> None:
    """Say what to do about arguments that ``mmhoga.ResNet`` does not take; None and False are the defaults of hosts.

    Raises:
        ValueError: an argument of another network has another value.
        TypeError: an argument of no network; ``network`` is the name of the class for the message.
    """
    wanted = {name: value for name, value in arguments.items() if value not in (None, False)}
    for name in wanted:
        if name in FOREIGN_ARGUMENTS:
            classes = ' or '.join(FOREIGN_ARGUMENTS[name])
            raise ValueError(keep_class(classes, why=f'{name} is an argument of {classes}.'))
    if 'expansion' in wanted:
        raise ValueError(
            f'mmhoga.ResNet takes no expansion, here {wanted["expansion"]!r}. It is 1 in a BasicBlock and 4 in a '
            'Bottleneck, as in the hosts by default; base_channels and stem_channels set the width.'
        )
    if 'contract_dilation' in wanted:
        raise ValueError('mmhoga.ResNet takes no contract_dilation. Set dilations, one per stage.')
    if 'pretrained' in wanted:
        raise ValueError(
            "mmhoga.ResNet takes no pretrained. Set init_cfg=dict(type='Pretrained', "
            f'checkpoint={wanted["pretrained"]!r}).'
        )
    known = {*FOREIGN_ARGUMENTS, 'expansion', 'contract_dilation', 'pretrained'}
    if unknown := [name for name in arguments if name not in known]:
        raise TypeError(f'{network} takes no argument {unknown[0]!r}. Its docstring lists its arguments.')


def replaced_class_problem(cfg: Config, path: str | Path, nodes: Iterable[tuple[str, Any]]) -> str | None:
    """What a config that puts ``type='mmhoga.ResNet'`` in place of a host's class leaves out; None if nothing.

    Only the config file itself is examined, and compared with its ``_base_``. A backbone that was replaced as a whole,
    with ``_delete_=True``, is not compared.

    Args:
        cfg: the config that was read from the file.
        path: the file.
        nodes: every value in ``cfg`` with its dotted key.
    """
    path = Path(path)
    text = path.read_text(encoding='utf-8') if path.suffix == '.py' else ''
    if 'mmhoga.ResNet' not in text or _replaces_whole(text):
        return None
    ours = {key: node for key, node in nodes if isinstance(node, dict) and node.get('type') == 'mmhoga.ResNet'}
    for base in _bases(str(path)) if ours else ():
        for key, node in ours.items():
            before: Any = base
            for name in key.split('.'):
                before = before.get(name) if isinstance(before, (dict, Config)) else None
            if isinstance(before, dict) and isinstance(before.get('type'), str):
                problem = _difference(key, node, before['type'], str(cfg.get('default_scope')))
                if problem:
                    return problem
    return None


def _replaces_whole(text: str) -> bool:
    """Whether a dict in a config file has the type ``mmhoga.ResNet`` and ``_delete_``."""
    for node in ast.walk(ast.parse(text)):
        entries: dict[Any, ast.expr] = {}
        if isinstance(node, ast.Call):
            entries = {keyword.arg: keyword.value for keyword in node.keywords}
        elif isinstance(node, ast.Dict):
            entries = {key.value: value for key, value in zip(node.keys, node.values) if isinstance(key, ast.Constant)}
        kind = entries.get('type')
        if '_delete_' in entries and isinstance(kind, ast.Constant) and kind.value == 'mmhoga.ResNet':
            return True
    return False


def _bases(path: str) -> Iterator[Config]:
    try:
        names = Config._get_base_files(path)
        paths = [Config._get_cfg_path(name, path)[0] for name in names]
    except AttributeError:  # private functions of mmengine
        return
    yield from map(Config.fromfile, paths)


def _difference(key: str, node: Mapping[str, Any], name: str, scope: str) -> str | None:
    host, _, kind = name.rpartition('.')
    known = EQUIVALENTS.get(host or scope, {})
    if kind not in known:
        return None
    wanted = known[kind]
    if wanted is None:
        why = f"{key} has type='mmhoga.ResNet' in place of {kind}, which is another network."
        return keep_class(kind, why=why)
    names = {'width_per_group': 'base_width'}
    missing = {k: v for k, v in wanted.items() if k not in node and names.get(k) not in node}
    if not missing:
        return None
    settings = ', '.join(f'{k}={v!r}' for k, v in missing.items())
    return (
        f"{key} has type='mmhoga.ResNet' in place of {kind}, which has {settings} by default. Set that in {key}, or "
        'other values if another network is meant.'
    )
