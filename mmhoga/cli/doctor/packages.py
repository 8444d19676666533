"""The uses of mmhoga with the packages that they need, and remedies for errors of packages that do not fit together."""

from __future__ import annotations

import re
import sys
from typing import NamedTuple

from mmhoga.compat.packages import DISTRIBUTIONS, INSTALL, INSTALL_WITH_FORKS, installed

#: The distributions whose versions are printed.
LISTED = (
    *('torch', 'torchvision', 'numpy', *(name for names in DISTRIBUTIONS.values() for name in names)),
    *('timm', 'opencv-python', 'xtcocotools', 'scikit-learn', 'matplotlib', 'optuna', 'onnx', 'onnxruntime'),
    *('onnxscript', 'tensorboard', 'setuptools'),
)


class Check(NamedTuple):
    """What must be importable, and a function that tries it.

    Attributes:
        modules: imported in this order.
        remedy: the command that installs them.
        test: ``file.function`` of this package, called after the imports.
    """

    modules: tuple[str, ...]
    remedy: str
    test: str = ''


_TORCH = 'pip install -U torch torchvision numpy'

#: Use -> check, in the order of printing.
CHECKS = {
    'torch': Check(('numpy', 'torch'), _TORCH, 'checks.torch_and_numpy'),
    'torchvision': Check(('torchvision',), 'pip install torchvision', 'checks.torchvision_operations'),
    'mmengine': Check(('mmengine',), 'pip install -U mmengine', 'checks.mmengine_version'),
    'HOGA': Check(('torch', 'mmengine', 'mmhoga.models'), _TORCH, 'self_test.hoga'),
    'a step of a search': Check(('torch', 'mmengine', 'mmhoga.search'), _TORCH, 'self_test.search_step'),
    'a checkpoint': Check(('torch', 'mmengine', 'mmengine.runner'), _TORCH, 'self_test.checkpoint'),
    'accelerator': Check((), 'update the driver, or install another torch', 'accelerator.same_as_cpu'),
    "mmcv's operations": Check(('mmcv',), 'pip install mmcv-lite==2.1.0', 'checks.mmcv_operations'),
    'backbones': Check(('mmcv', 'mmhoga.backbones'), 'pip install mmcv-lite==2.1.0'),
    'classification': Check(('mmpretrain', 'mmpretrain.models', 'sklearn'), INSTALL['mmpretrain']),
    'detection': Check(('mmdet', 'mmdet.models', 'torchvision'), INSTALL['mmdet']),
    'pose estimation': Check(('mmpose', 'mmpose.models', 'xtcocotools', 'xtcocotools.coco'), INSTALL['mmpose']),
    'bases such as mmdet::...': Check(('mmengine',), "pip install -U 'setuptools<81'", 'checks.bases_of_hosts'),
    "timm's attentions": Check(('timm',), "pip install 'mmhoga[attention]'", 'checks.attentions_of_timm'),
    'figures and reports': Check(('matplotlib', 'sklearn', 'jinja2'), "pip install 'mmhoga[analysis]'"),
    'studies of genotypes': Check(('optuna',), "pip install 'mmhoga[study]'"),
    'export to ONNX': Check(('onnx', 'onnxruntime', 'onnxscript'), "pip install 'mmhoga[deploy]'"),
    'TensorBoard': Check(('tensorboard',), "pip install 'mmhoga[tensorboard]'"),
}

_XTCOCOTOOLS = 'pip install cython numpy && pip install --no-binary xtcocotools --no-build-isolation xtcocotools'

#: Pattern of an error message -> its cause, and the command that mends it.
KNOWN_ERRORS = {
    r'MMCV==\S+ is used but incompatible': (
        'this host refuses this mmcv; pip installs mmcv-lite 2.2.0 by default',
        'pip install mmcv-lite==2.1.0',
    ),
    r'MMEngine==\S+ is used but incompatible': ('this host refuses this mmengine', 'pip install -U mmengine'),
    r'numpy\.dtype size changed': (
        'a package was built for numpy 1, and this is numpy 2 (wheels of xtcocotools)',
        f"pip install 'numpy<2' 'opencv-python<4.12', or build it: {_XTCOCOTOOLS}",
    ),
    r'Numpy is not available|_ARRAY_API not found|numpy\.core\.multiarray failed': (
        'a package was built for numpy 1, and this is numpy 2 (torch before 2.3)',
        "pip install 'numpy<2' 'opencv-python<4.12'",
    ),
    r"No module named 'pkg_resources'": (
        'mmengine reads bases such as mmdet::... with pkg_resources, which setuptools 81 no longer has',
        "pip install 'setuptools<81'",
    ),
    r"'pkgutil' has no attribute 'ImpImporter'": (
        'setuptools is too old for this Python; openmim installs setuptools 60',
        "pip install -U 'setuptools<81'",
    ),
    r'operator torchvision::\w+ does not exist|Couldn.t load custom C\+\+ ops': (
        'torchvision was built for another torch',
        'pip install -U --force-reinstall torch torchvision',
    ),
    r'undefined symbol|mmcv/_ext\S*: ': (
        'a compiled package, usually mmcv, was built for another torch',
        'pip uninstall -y mmcv && pip install mmcv-lite==2.1.0, or a compiled mmcv for this torch',
    ),
    r"No module named 'mmcv\._ext'": (
        'mmcv-lite has no compiled operations, and the host was imported before mmhoga',
        "import mmhoga first: custom_imports = dict(imports=['mmhoga']) in the config",
    ),
    r'Weights only load failed|Unsupported global': (
        "torch 2.6 and newer refuse mmengine's own checkpoints until mmhoga is imported",
        'import mmhoga before the checkpoint is read',
    ),
    r"No module named 'chumpy'": (
        'mmpose requires chumpy, but none of what mmhoga uses imports it',
        "pip install --no-build-isolation chumpy, or use mmpose's models without SMPL",
    ),
    r'no kernel image is available|CUDA error|CUDA driver version is insufficient': (
        'this torch has no kernels for this GPU, or the driver is older than it needs',
        'update the driver, or install the torch for it from https://pytorch.org/get-started/locally',
    ),
}


def remedy_for(error: str, absent: str | None, check: Check) -> tuple[str, str]:
    """The cause of an error, or ``''``, and the command that mends it.

    Args:
        error: type and message of the exception.
        absent: the package that was not found, if that is the error.
        check: the check that failed.
    """
    for pattern, (cause, remedy) in KNOWN_ERRORS.items():
        if re.search(pattern, error):
            return cause, remedy
    if absent == 'xtcocotools' and sys.version_info >= (3, 12):
        return 'no wheel for Python 3.12 and newer; building it takes a C compiler', _XTCOCOTOOLS
    if absent in INSTALL_WITH_FORKS and uses_forks():
        return '', INSTALL_WITH_FORKS[absent]
    first = (other.remedy for other in CHECKS.values() if absent in other.modules[:1])
    return '', next(first, check.remedy)


def uses_forks() -> bool:
    """True if onedl-mmengine is installed, and not mmengine beside it."""
    return list(installed(*DISTRIBUTIONS['mmengine'])) == ['onedl-mmengine']


def conflicts() -> dict[str, tuple[dict[str, str], str]]:
    """Package -> (its installed distributions, remedy), where two of them write the same files.

    The remedy keeps the fork, if there is one, because pip installs the upstream one on its own as a requirement.
    """
    found = {}
    for package, names in DISTRIBUTIONS.items():
        versions = installed(*names)
        if len(versions) > 1:
            kept = next((name for name in versions if name.startswith('onedl-')), next(iter(versions)))
            pin = 'mmcv-lite==2.1.0' if kept == 'mmcv-lite' else f'{kept}=={versions[kept]}'
            found[package] = versions, f'pip uninstall -y {" ".join(versions)} && pip install --no-deps {pin}'
    return found
