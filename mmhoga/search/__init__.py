"""The differentiable search (section 3.3): a model that owns alpha, its optimizers, its loop, its records."""

from mmhoga.search.hooks import GenotypeHook
from mmhoga.search.loop import SearchLoop
from mmhoga.search.model import SearchModel
from mmhoga.search.optimizers import SearchOptimWrapperConstructor

__all__ = ['GenotypeHook', 'SearchLoop', 'SearchModel', 'SearchOptimWrapperConstructor']
