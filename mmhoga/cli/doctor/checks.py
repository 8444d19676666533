"""Checks of installed packages. Each returns a line for the reader, or raises what goes wrong."""

from __future__ import annotations

import re
import tempfile
from importlib.util import find_spec
from pathlib import Path

from mmhoga.compat.packages import INSTALL


class StandInUsed(Exception):
    """Something works, by a part of mmhoga in place of another package's. The message describes it."""


class NotApplicable(Exception):
    """A check of something that is not installed."""


def older_than(version: str, *floor: int) -> bool:
    """True if a version such as ``2.0.1+cu118`` is lower than the numbers of ``floor``."""
    return tuple(int(number) for number in re.findall(r'\d+', version)[: len(floor)]) < floor


def torch_and_numpy() -> str:
    """Versions, the bridge between them, and the accelerator."""
    import numpy
    import torch

    if older_than(torch.__version__, 2, 0):
        raise ImportError(f'mmhoga needs torch 2.0 or newer, found {torch.__version__}')
    if torch.from_numpy(numpy.ones(3, dtype=numpy.float32)).sum().numpy() != 3:
        raise ArithmeticError('1 + 1 + 1 of a numpy array is not 3 in torch')
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return f'torch {torch.__version__}, numpy {numpy.__version__}, accelerator: {accelerator}'


def torchvision_operations() -> str:
    """NMS of two boxes, which fails if torchvision was built for another torch."""
    import torch
    import torchvision

    boxes = torch.tensor([[0.0, 0, 10, 10], [1, 1, 10, 10]])
    kept = torchvision.ops.nms(boxes, torch.tensor([0.5, 0.9]), 0.5)
    if kept.tolist() != [1]:
        raise ArithmeticError(f'NMS keeps boxes {kept.tolist()}, not [1]')
    return f'torchvision {torchvision.__version__}'


def mmengine_version() -> str:
    """mmengine or its fork, 0.10 or newer."""
    import mmengine

    if older_than(mmengine.__version__, 0, 10):
        raise ImportError(f'mmhoga needs mmengine 0.10 or newer, found {mmengine.__version__}')
    return f'mmengine {mmengine.__version__}'


def mmcv_operations() -> str:
    """The compiled operations of mmcv: NMS of two boxes, by mmcv or by the stand-in."""
    import numpy
    from mmcv.ops import nms

    spec = find_spec('mmcv._ext')
    _, kept = nms(
        numpy.array([[0, 0, 10, 10], [1, 1, 10, 10]], dtype=numpy.float32),
        numpy.array([0.5, 0.9], dtype=numpy.float32),
        0.5,
    )
    if kept.tolist() != [1]:
        raise ArithmeticError(f'NMS keeps boxes {kept.tolist()}, not [1]')
    if spec is not None and spec.origin != 'mmhoga.compat':
        return f'compiled ({spec.origin})'
    raise StandInUsed(
        'mmhoga, with torchvision: NMS, soft-NMS, RoIAlign, sigmoid focal loss. All others (deformable convolution, '
        "...) need a compiled mmcv. Hosts' own scripts and tools need `import mmhoga` first: "
        "custom_imports = dict(imports=['mmhoga']) in the config"
    )


def attentions_of_timm() -> str:
    """Gather-Excite and Squeeze-and-Excitation, the first of which newer timm cannot build."""
    import timm
    import torch

    from mmhoga.models import Attention

    for options in (dict(name='se'), dict(name='ge', extra_params=True, extent=0, use_mlp=False, feat_size=(4, 4))):
        try:
            Attention(16, **options).eval()(torch.ones(1, 16, 4, 4))
        except Exception as error:
            raise ImportError(
                f'timm {timm.__version__} cannot build the attention {options["name"]!r} '
                f'({type(error).__name__}: {error}); 1.0.9 to 1.0.19 can'
            ) from error
    return f'timm {timm.__version__}'


def bases_of_hosts() -> str:
    """``_base_ = 'mmdet::...'``: mmengine finds the configs of each installed host."""
    from mmengine.config import Config

    hosts = [host for host in INSTALL if find_spec(host) is not None]
    if not hosts:
        raise NotApplicable
    with tempfile.TemporaryDirectory() as folder:
        for host in hosts:
            config = Path(folder, f'from_{host}.py')
            config.write_text(f"_base_ = '{host}::_base_/default_runtime.py'\n", encoding='utf-8')
            if 'default_hooks' not in Config.fromfile(config):
                raise ValueError(f'{host}::_base_/default_runtime.py has no default_hooks')
    return ', '.join(f'{host}::...' for host in hosts)
