"""Everything that exists only because a host is old.

Three repairs, each of which does nothing where it is not needed:

* ``mmcv._ext``: mmcv-lite has ``mmcv.ops`` but not the compiled module behind it, so ``import mmdet.models`` dies.
  :func:`install_stand_in` offers a module in its place. A compiled one always wins.
* SSD: mmdet 3.3's cannot predict. :func:`repair_ssd_head` gives its head the attribute that it lacks.
* checkpoints: mmengine 0.10 calls ``torch.load`` in a way that torch >= 2.6 refuses for mmengine's own files.
  :func:`allow_mmengine_checkpoints` names the few harmless types that are in them. Loading stays weights-only:
  no checkpoint can run code.

The first two are import hooks, installed by ``import mmhoga`` without importing anything; the third is called by
``import mmhoga.registry``, which everything that builds a part of ours imports.
"""

from mmhoga.compat.checkpoint import allow_mmengine_checkpoints
from mmhoga.compat.mmcv_ext import install_stand_in, require_mmcv
from mmhoga.compat.ssd_head import repair_ssd_head

__all__ = ['allow_mmengine_checkpoints', 'install_stand_in', 'repair_ssd_head', 'require_mmcv']
