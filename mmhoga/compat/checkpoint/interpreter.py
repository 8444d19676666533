"""The instructions of a pickle, executed without importing or calling anything that the pickle names."""

from __future__ import annotations

import pickletools
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import Any, BinaryIO, cast

import numpy as np
from mmengine.config import ConfigDict

from mmhoga.compat.checkpoint.objects import CheckpointError, Maker, Pending, Unknown, hashable, short

# A checkpoint of ResNet-50 with its optimizer has 26,000. One instruction takes at most 0.3 KB of memory.
MAX_INSTRUCTIONS = 5_000_000

_PUSH_VALUE = frozenset(
    (
        *('BININT', 'BININT1', 'BININT2', 'LONG1', 'LONG4', 'BINFLOAT', 'BINUNICODE', 'SHORT_BINUNICODE'),
        *('BINUNICODE8', 'BINSTRING', 'SHORT_BINSTRING', 'BINBYTES', 'SHORT_BINBYTES', 'BINBYTES8', 'BYTEARRAY8'),
    )
)
_SIZED = (bytes, bytearray, set, frozenset, dict, OrderedDict, Counter, ConfigDict)
_CONSTANTS = {'NONE': None, 'NEWTRUE': True, 'NEWFALSE': False, 'EMPTY_TUPLE': ()}
_NEW = {'EMPTY_LIST': list, 'EMPTY_DICT': dict, 'EMPTY_SET': set}
_TUPLES = {'TUPLE1': 1, 'TUPLE2': 2, 'TUPLE3': 3}


class _Bounded:
    """The part of a file object that pickletools uses, without reads that take more memory than the file."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file = file
        self.size = size
        self.readline = file.readline

    def read(self, length: int) -> bytes:
        if length > self.size:
            raise CheckpointError('it is cut off')
        return self.file.read(length)


class Interpreter:
    """Executes one pickle.

    The standard library's ``pickletools`` decodes the instructions; it executes nothing. Instructions of the text
    protocols 0 and 1, and those for extension codes and out-of-band buffers, are refused: ``torch.save`` writes none.

    Args:
        find: returns what a dotted name stands for: a :class:`Maker`, a value, or an :class:`Unknown`.
        storage: returns the storage of a persistent id.
    """

    def __init__(self, find: Callable[[str], Any], storage: Callable[[Any], Any]) -> None:
        self.find = find
        self.storage = storage
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.read = self.copied = 0  # the sizes of what came from the file, and of what was made of it

    def run(self, file: BinaryIO, size: int) -> Any:
        """Execute the pickle at the file's position and return its object. The file is then at the pickle's end.

        No instruction reads more than ``size`` bytes, whatever length it announces.

        Raises:
            CheckpointError: an instruction that is refused.
            Exception: a pickle that is damaged raises whatever its instructions lead to.
        """
        for count, (opcode, argument, _) in enumerate(pickletools.genops(cast(BinaryIO, _Bounded(file, size)))):
            if count == MAX_INSTRUCTIONS:
                raise CheckpointError(f'it has more than {MAX_INSTRUCTIONS:,} objects beside its tensors')
            name = opcode.name
            self.read += 1
            if name in _PUSH_VALUE:
                self.read += len(argument) if isinstance(argument, (str, bytes, bytearray)) else 0
                self.stack.append(argument)
            elif name in _CONSTANTS:
                self.stack.append(_CONSTANTS[name])
            elif name in _NEW:
                self.stack.append(_NEW[name]())
            elif name in _TUPLES:
                length = _TUPLES[name]
                self._require(length)
                self.stack[-length:] = [tuple(self.stack[-length:])]
            elif name == 'STOP':
                return self.stack.pop()
            elif name not in ('PROTO', 'FRAME'):
                method = getattr(self, f'_{name.lower()}', None)
                if method is None:
                    raise CheckpointError(f'it has the instruction {name}, which torch does not write')
                method(argument)
        raise CheckpointError('it is cut off')  # pragma: no cover (genops raises first)

    def _require(self, length: int) -> None:
        if len(self.stack) < length:
            raise CheckpointError('it takes more objects than it has built')

    def _charge(self, made: Any) -> Any:
        """Bound the copies that a pickle makes of one string or list, to which it may refer again and again."""
        self.copied += made.nbytes if type(made) is np.ndarray else len(made) if type(made) in _SIZED else 0
        if self.copied > 4 * self.read + 2**20:
            raise CheckpointError('its arrays are larger than the file')
        return made

    def _mark(self, _: Any) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def _tuple(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _frozenset(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(frozenset(map(hashable, items)))

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is list:
            target.extend(items)
        elif not isinstance(target, Unknown):
            raise CheckpointError(f'it appends to a {type(target).__name__}')

    def _additems(self, _: Any) -> None:
        items = self._since_mark()
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(hashable, items))
        elif not isinstance(target, Unknown):
            raise CheckpointError(f'it adds elements to a {type(target).__name__}')

    def _setitem(self, _: Any) -> None:
        self._require(3)
        self._set_items([self.stack.pop(-2), self.stack.pop()])

    def _setitems(self, _: Any) -> None:
        self._set_items(self._since_mark())

    def _set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Unknown):
            return
        if type(target) not in (dict, OrderedDict, Counter, ConfigDict):
            raise CheckpointError(f'it sets items of a {type(target).__name__}')
        # dict's own method: ConfigDict's would convert the values. An OrderedDict needs its own for the order.
        put = OrderedDict.__setitem__ if type(target) is OrderedDict else dict.__setitem__
        for key, value in zip(items[::2], items[1::2]):
            put(target, hashable(key), value)

    def _binget(self, index: int) -> None:
        self.stack.append(self.memo[index])

    _long_binget = _binget

    def _binput(self, index: int) -> None:
        self.memo[index] = top = self.stack[-1]
        if isinstance(top, Pending):
            top.places.append(index)

    _long_binput = _binput

    def _memoize(self, _: Any) -> None:
        self._binput(len(self.memo))

    def _global(self, names: str) -> None:
        self.stack.append(self.find(names.replace(' ', '.', 1)))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise CheckpointError('it names a function by something other than text')
        self.stack.append(self.find(f'{module}.{name}'))

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(arguments) is not tuple:
            raise CheckpointError('it calls a function without a tuple of arguments')
        if type(function) is Maker:
            self.stack.append(self._charge(function.make(*arguments)))
        elif isinstance(function, Unknown):
            self.stack.append(Unknown(function.name))
        else:
            raise CheckpointError(f'it calls a {type(function).__name__} ({short(function)})')

    _newobj = _reduce

    def _newobj_ex(self, _: Any) -> None:
        self._require(3)
        _, _, function = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self.stack.append(Unknown(function.name if isinstance(function, (Unknown, Maker)) else short(function)))

    def _build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, Pending):
            self.stack[-1] = built = self._charge(target.build(state))
            for index in target.places:
                if self.memo[index] is target:
                    self.memo[index] = built
        elif type(target) is OrderedDict and type(state) is dict:
            # A module's state_dict has the versions of its layers there.
            if isinstance(state.get('_metadata'), dict):
                vars(target)['_metadata'] = state['_metadata']
        elif not isinstance(target, Unknown):
            raise CheckpointError(f'it sets attributes of a {type(target).__name__}')

    def _binpersid(self, _: Any) -> None:
        self.stack.append(self.storage(self.stack.pop()))
