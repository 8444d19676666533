"""Backbones whose blocks take plugins, for all hosts: ResNets and a network of PNAS cells."""

from mmhoga.compat import require_mmcv

require_mmcv()

from mmhoga.backbones.cifar import CIFARResNet, CIFARResNeXt
from mmhoga.backbones.pnas import CIFARPNASNet
from mmhoga.backbones.resnet import ResNet

__all__ = ['CIFARPNASNet', 'CIFARResNeXt', 'CIFARResNet', 'ResNet']
