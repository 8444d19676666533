"""HOGA, its supernet, and the attentions that the paper compares it with."""

from mmhoga.compat import require_mmengine

require_mmengine()

from mmhoga.models.attention import Attention
from mmhoga.models.augmented import AugmentedConv2d
from mmhoga.models.hoga import HOGA
from mmhoga.models.operations import OPERATIONS, AttentionOperation, EdgeInput
from mmhoga.models.operations import __getattr__ as __getattr__  # old names
from mmhoga.models.primitives import register_primitive
from mmhoga.models.supernet import SearchableHOGA, derive_genotype, share_alpha

__all__ = [
    'HOGA',
    'OPERATIONS',
    'Attention',
    'AttentionOperation',
    'AugmentedConv2d',
    'EdgeInput',
    'SearchableHOGA',
    'derive_genotype',
    'register_primitive',
    'share_alpha',
]
