"""Child registries of mmengine's, so that ``type='mmhoga.X'`` resolves in any host's scope.

A host that meets the prefix ``mmhoga.`` imports this module and then, at the first look-up, the ``locations``
of the registry it looks in. No ``custom_imports`` is needed in a config.
"""

from mmengine.registry import DATASETS as MMENGINE_DATASETS
from mmengine.registry import HOOKS as MMENGINE_HOOKS
from mmengine.registry import LOOPS as MMENGINE_LOOPS
from mmengine.registry import MODELS as MMENGINE_MODELS
from mmengine.registry import (
    OPTIM_WRAPPER_CONSTRUCTORS as MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS,
)
from mmengine.registry import Registry

from mmhoga.compat import allow_mmengine_checkpoints


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope='mmhoga', locations=list(locations))


MODELS = _child(MMENGINE_MODELS, 'mmhoga.models', 'mmhoga.backbones', 'mmhoga.search')
DATASETS = _child(MMENGINE_DATASETS, 'mmhoga.datasets')
LOOPS = _child(MMENGINE_LOOPS, 'mmhoga.search')
HOOKS = _child(MMENGINE_HOOKS, 'mmhoga.search')
OPTIM_WRAPPER_CONSTRUCTORS = _child(MMENGINE_OPTIM_WRAPPER_CONSTRUCTORS, 'mmhoga.search')

# Whoever builds something of ours may load a checkpoint next, in a process that imported nothing else of this
# package.
allow_mmengine_checkpoints()
