"""``mmhoga doctor``: check the installation. It imports only the standard library until a check needs more."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Callable

from mmhoga.cli.run.arguments import command_parser
from mmhoga.version import __version__

PACKAGES = (
    *('torch', 'torchvision', 'numpy', 'mmengine', 'onedl-mmengine', 'mmcv', 'mmcv-lite', 'onedl-mmcv', 'mmpretrain'),
    *('mmdet', 'mmpose', 'timm', 'scikit-learn', 'matplotlib', 'optuna', 'onnx', 'onnxruntime', 'onnxscript'),
    'setuptools',
)
MMCV = "pip install 'mmcv-lite==2.1.0', or a compiled mmcv"
POSE = "pip install 'mmhoga[pose]' && pip install --no-deps 'mmpose>=1.3.2'"
#: Use -> (modules that must be importable, command that installs them).
USES = {
    'backbones': (['mmcv', 'mmhoga.backbones'], MMCV),
    'classification': (['mmpretrain.models', 'sklearn'], "pip install 'mmhoga[cls]'"),
    'detection': (['mmdet.models', 'torchvision'], "pip install 'mmhoga[det]'"),
    'pose estimation': (['mmpose.models', 'xtcocotools'], POSE),
    'bases such as mmdet::...': (['pkg_resources'], "pip install 'setuptools<81'"),
    "timm's attentions": (['timm'], "pip install 'mmhoga[attention]'"),
    'figures and reports': (['matplotlib', 'sklearn'], "pip install 'mmhoga[analysis]'"),
    'studies of genotypes': (['optuna'], "pip install 'mmhoga[study]'"),
    'export to ONNX': (['onnx', 'onnxruntime', 'onnxscript'], "pip install 'mmhoga[deploy]'"),
    'TensorBoard': (['tensorboard'], "pip install 'mmhoga[tensorboard]'"),
}


def doctor_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 1 if torch, mmengine or HOGA does not work."""
    parser = command_parser('Check the installation, and list what is missing for which use.', 'mmhoga doctor')
    parser.add_argument('--json', action='store_true', help='print JSON, for an issue or a script')
    args = parser.parse_args(argv)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        checks = [_check('torch', 'pip install -U torch', _torch), _check('HOGA', 'pip install -U mmengine', _hoga)]
        checks += [_check(use, remedy, _import, modules) for use, (modules, remedy) in USES.items()]
    place = {'package': str(Path(__file__).resolve().parent.parent), 'mmcv operations': _mmcv_operations()}
    if args.json:
        print(json.dumps({'versions': _versions(), **place, 'checks': checks}, indent=2))
    else:
        print('\n'.join(f'{name:16}{value}' for name, value in {**_versions(), **place}.items()), end='\n\n')
        for check in checks:
            print(f'{"ok" if check["ok"] else "MISSING":8}{check["name"]:25}{check["detail"]}'.rstrip())
            if not check['ok']:
                print(f'{"":8}{check["remedy"]}')
    return 0 if all(check['ok'] for check in checks[:2]) else 1


def _check(name: str, remedy: str, function: Callable[..., str], *arguments: Any) -> dict[str, Any]:
    try:
        return {'name': name, 'ok': True, 'detail': function(*arguments)}
    except Exception as error:  # a broken package may raise anything
        detail = f'{type(error).__name__}: {" ".join(str(error).split())}'
        return {'name': name, 'ok': False, 'detail': detail, 'remedy': remedy}


def _import(modules: Sequence[str]) -> str:
    for module in modules:
        import_module(module)
    return ''


def _torch() -> str:
    import torch

    if int(torch.__version__.partition('.')[0]) < 2:
        raise ImportError(f'mmhoga needs torch 2.0 or newer, found {torch.__version__}')
    return f'accelerator: {torch.cuda.get_device_name() if torch.cuda.is_available() else "none"}'


def _hoga() -> str:
    import torch
    from mmengine.device import get_device

    from mmhoga.models.hoga import HOGA

    device = get_device()
    cell = HOGA(16).to(device)
    cell(torch.randn(2, 16, 8, 8, device=device)).sum().backward()
    if not all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in cell.parameters()):
        raise ArithmeticError('a parameter has no finite gradient')
    return f'forward and backward on {device}'


def _mmcv_operations() -> str:
    try:
        spec = find_spec('mmcv._ext')
    except ImportError:
        return 'none: mmcv is not installed'
    return 'stand-in of mmhoga' if spec is None or spec.origin == 'mmhoga.compat' else f'compiled ({spec.origin})'


def _versions() -> dict[str, str]:
    versions = {'mmhoga': __version__, 'python': platform.python_version(), 'system': platform.platform()}
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            versions[package] = metadata.version(package)
    return {**versions, 'executable': sys.executable, 'cores': str(os.cpu_count())}
