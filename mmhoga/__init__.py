"""High Order Group Attention (HOGA) and its differentiable search, for OpenMMLab and for plain torch.

``import mmhoga`` is cheap: it loads neither torch nor a host. Its only effect is the one that :mod:`mmhoga.compat`
documents: three import hooks. Two let current versions of the hosts work, one keeps checkpoints from running code.

The names below are imported when they are first used::

    from mmhoga import HOGA, SearchableHOGA, Attention, Genotype, AttentionOperation, register_primitive, insert, fuse
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmhoga.compat import install_stand_in, protect_checkpoints, repair_ssd_head
from mmhoga.version import __version__

if TYPE_CHECKING:
    from mmhoga.deploy import fuse
    from mmhoga.genotype import Genotype
    from mmhoga.insertion import insert
    from mmhoga.models import HOGA, Attention, AttentionOperation, SearchableHOGA, register_primitive

__all__ = [
    'HOGA',
    'Attention',
    'AttentionOperation',
    'Genotype',
    'SearchableHOGA',
    '__version__',
    'fuse',
    'insert',
    'register_primitive',
]

_MODULES = {
    'Genotype': 'mmhoga.genotype',
    'fuse': 'mmhoga.deploy',
    'insert': 'mmhoga.insertion',
}  # all other names: mmhoga.models


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES.get(name, 'mmhoga.models')), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


install_stand_in()
repair_ssd_head()
protect_checkpoints()
