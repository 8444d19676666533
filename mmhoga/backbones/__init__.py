"""Backbones whose blocks take plugins, for all hosts: ResNets and a network of PNAS cells."""

from mmhoga.compat import require_mmcv

require_mmcv()

from mmhoga.backbones.cifar import CIFARResNet, CIFARResNeXt  # noqa: E402
from mmhoga.backbones.pnas import CIFARPNASNet  # noqa: E402
from mmhoga.backbones.resnet import ResNet  # noqa: E402

__all__ = ['CIFARPNASNet', 'CIFARResNeXt', 'CIFARResNet', 'ResNet']
