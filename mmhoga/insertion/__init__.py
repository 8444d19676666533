"""Attention in any network that is already trained: where it can go, how it starts, what is trained."""

from mmhoga.insertion.insert import insert
from mmhoga.insertion.inserted import Inserted
from mmhoga.insertion.places import Place, PlaceError, find_places
from mmhoga.insertion.training import cells_of, train_only

__all__ = ['Inserted', 'Place', 'PlaceError', 'cells_of', 'find_places', 'insert', 'train_only']
