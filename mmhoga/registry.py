"""Child registries of mmengine's, so that ``type='mmhoga.X'`` resolves in the scope of any host.

For a type with the prefix ``mmhoga.``, mmengine imports this module and, at the first look-up in a registry, its
``locations``. A config needs no ``custom_imports``.
"""

from mmhoga.compat import require_mmengine

require_mmengine()

from mmengine import registry as parents  # noqa: E402


def _child(parent: parents.Registry, *locations: str) -> parents.Registry:
    return parents.Registry(parent.name, parent=parent, scope='mmhoga', locations=list(locations))


MODELS = _child(parents.MODELS, 'mmhoga.models', 'mmhoga.insertion', 'mmhoga.backbones', 'mmhoga.search')
DATASETS = _child(parents.DATASETS, 'mmhoga.datasets')
LOOPS = _child(parents.LOOPS, 'mmhoga.search')
HOOKS = _child(parents.HOOKS, 'mmhoga.insertion', 'mmhoga.search')
OPTIM_WRAPPER_CONSTRUCTORS = _child(parents.OPTIM_WRAPPER_CONSTRUCTORS, 'mmhoga.search')
