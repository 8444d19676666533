"""Repairs for current hosts, and everything that importing mmhoga changes in a process.

``import mmhoga`` loads neither torch nor a host. It adds three finders to ``sys.meta_path``:

* The last finder answers ``import mmcv._ext`` when no other finder has this compiled module, as with mmcv-lite. It
  returns a stand-in with the operations in :mod:`mmhoga.compat.mmcv_ops`; every other operation raises
  NotImplementedError when it is called. With mmcv-lite, ``import mmdet.models`` fails without it. A compiled mmcv is
  never replaced.
* A finder adds the attribute ``loss_cls`` to mmdet's ``SSDHead`` when its module is imported, because mmdet 3.3's SSD
  cannot predict without it. If the module is already imported, the class is changed at once.
* A finder changes ``mmengine.runner.checkpoint`` in the same way: mmengine and its hosts read checkpoints with
  :func:`mmhoga.compat.checkpoint.read_checkpoint`, which runs no code of a file, and write them in plain types. torch
  itself is not changed, nor its list of names that a weights-only load may call.

``import mmhoga.registry`` changes one more thing. Every part of mmhoga that a config can name imports it, and so does
mmengine when it resolves ``type='mmhoga.X'``. Five registries of mmengine get a child with the scope ``mmhoga``:
models, datasets, loops, hooks, and constructors of optimizer wrappers.
"""

from mmhoga.compat.import_hooks import (
    install_stand_in,
    protect_checkpoints,
    repair_ssd_head,
    require_mmcv,
    require_mmengine,
)

__all__ = ['install_stand_in', 'protect_checkpoints', 'repair_ssd_head', 'require_mmcv', 'require_mmengine']
