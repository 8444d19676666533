"""The differentiable search (section 3.3): a model that owns alpha, its optimizers, its loop, its records."""

from mmhoga.compat import require_mmengine

require_mmengine()

from mmhoga.search.descent import SearchOptimWrapperConstructor
from mmhoga.search.from_training import search_config
from mmhoga.search.loop import SearchLoop
from mmhoga.search.model import SearchModel
from mmhoga.search.records.hook import GenotypeHook
from mmhoga.search.resume.checkpoint import SearchCheckpointHook
from mmhoga.search.resume.state import SearchError

__all__ = [
    'GenotypeHook',
    'SearchCheckpointHook',
    'SearchError',
    'SearchLoop',
    'SearchModel',
    'SearchOptimWrapperConstructor',
    'search_config',
]
