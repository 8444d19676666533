"""ResNets whose blocks, Basic and Bottleneck, take plugins: one implementation for every host."""

from mmhoga.compat import require_mmcv

require_mmcv()

from mmhoga.backbones.cifar import CIFARResNet  # noqa: E402
from mmhoga.backbones.resnet import ResNet  # noqa: E402

__all__ = ['CIFARResNet', 'ResNet']
