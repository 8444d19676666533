"""Attention in any network that is already trained: where it can go, how it starts, what is trained."""

from mmhoga.compat import require_mmengine

require_mmengine()

from mmhoga.insertion.adapter_files import AdapterError
from mmhoga.insertion.adapters import load_adapter, save_adapter
from mmhoga.insertion.hooks import AdapterHook, CellNormHook
from mmhoga.insertion.insert import insert
from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.norms import estimate_norms
from mmhoga.insertion.places import Place, PlaceError, find_places
from mmhoga.insertion.training import cells_of, train_only

__all__ = [
    'AdapterError',
    'AdapterHook',
    'CellNormHook',
    'Inserted',
    'Place',
    'PlaceError',
    'cells_of',
    'estimate_norms',
    'find_places',
    'insert',
    'load_adapter',
    'save_adapter',
    'train_only',
]
