"""Checkpoints that try to run code, made instruction by instruction, and what they would change if they could."""

import copyreg
import pickle
import zipfile
from pathlib import Path

import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

HistoryBuffer()  # registers its own statistics
CALLS = []
MARKER = b'X\x06\x00\x00\x00ATTACK'


def canary(*arguments):
    """Records that it was called. No checkpoint may."""
    CALLS.append(arguments)
    return canary


class Canary:
    """Records every use of its class and instances."""

    def __new__(cls, *arguments):
        CALLS.append(('new', arguments))
        return super().__new__(cls)

    def __setstate__(self, state):
        CALLS.append(('state', state))

    def append(self, item):
        CALLS.append(('append', item))

    extend = update = add = append

    def __setitem__(self, key, value):
        CALLS.append(('item', key))

    def __hash__(self):
        CALLS.append(('hash',))
        return 0

    def __eq__(self, other):
        CALLS.append(('equal',))
        return False


# Pieces of pickles, each of which leaves one object on the stack.


def name(dotted):
    module, _, attribute = dotted.rpartition('.')
    return b'c' + module.encode() + b'\n' + attribute.encode() + b'\n'


def value(content):
    return pickle.dumps(content, 2)[2:-1]


def items(*pieces):
    return b'(' + b''.join(pieces) + b't'


def call(function, *pieces):
    return function + items(*pieces) + b'R'


def new(kind, *pieces):
    return kind + items(*pieces) + b'\x81'


def build(target, state):
    return target + state + b'b'


def mapping(**pieces):
    return b'}' + b'(' + b''.join(value(key) + piece for key, piece in pieces.items()) + b'u'


def stack_name(module, attribute):
    return value(module) + value(attribute) + b'\x93'


HERE = 'hostile_checkpoints'
CANARY = name(f'{HERE}.canary')
RECONSTRUCT = name('numpy.core.multiarray._reconstruct')
ARRAY = call(RECONSTRUCT, name('numpy.ndarray'), value((0,)), value(b'b'))
HISTORY = 'mmengine.logging.history_buffer.HistoryBuffer'


def dtype(code, order='<', *rest):
    fields = rest or (None, None, None)
    state = items(value(3), value(order), *map(value, fields), value(-1), value(-1), value(0))
    return build(call(name('numpy.dtype'), value(code), value(False), value(True)), state)


#: Attacks that run code, or change the process, when an ordinary unpickler reads them. Each is one object.
RUNS = {
    'a function': call(CANARY, value(1)),
    'a function, protocol 4': call(stack_name(HERE, 'canary')),
    'a dotted name': call(stack_name(HERE, 'Canary.__new__'), name(f'{HERE}.Canary')),
    'a class': new(name(f'{HERE}.Canary'), value(1)),
    'a class with keywords': name(f'{HERE}.Canary') + items() + b'}' + b'\x92',
    'a state': build(new(name(f'{HERE}.Canary')), value({'a': 1})),
    'appending': new(name(f'{HERE}.Canary')) + value(1) + b'a',
    'appending many': new(name(f'{HERE}.Canary')) + b'(' + value(1) + b'e',
    'setting an item': new(name(f'{HERE}.Canary')) + value('a') + value(1) + b's',
    'setting items': new(name(f'{HERE}.Canary')) + b'(' + value('a') + value(1) + b'u',
    'adding': new(name(f'{HERE}.Canary')) + b'(' + value(1) + b'\x90',
    'getattr': call(call(name('builtins.getattr'), name(f'{HERE}.Canary'), value('__new__')), name(f'{HERE}.Canary')),
    'partial': call(call(name('functools.partial'), CANARY, value(1))),
    'a method caller': call(
        call(name('operator.methodcaller'), value('append'), value(1)), new(name(f'{HERE}.Canary'))
    ),
    'eval': call(name('builtins.eval'), value(f'__import__("{HERE}").canary()')),
    'exec': call(name('builtins.exec'), value(f'import {HERE}; {HERE}.canary()')),
    'map': call(name('builtins.list'), call(name('builtins.map'), CANARY, value([1]))),
    'a factory': call(name('operator.getitem'), call(name('collections.defaultdict'), CANARY), value('a')),
    'copyreg': call(name('copyreg.__newobj__'), name(f'{HERE}.Canary'), value(1)),
    'an array of objects': build(
        ARRAY, items(value(1), value((1,)), dtype('O8', '|'), value(False), b'](' + call(CANARY) + b'e')
    ),
    'a tensor of a type': call(
        name('torch._tensor._rebuild_from_type_v2'), CANARY, name(f'{HERE}.Canary'), items(), b'}'
    ),
    'a parameter with a state': call(
        name('torch._utils._rebuild_parameter_with_state'),
        call(name('torch._tensor._rebuild_from_type_v2'), CANARY, name('torch.Tensor'), items(), b'N'),
        *map(value, (False, {})),
        value({'a': 1}),
    ),
    'bytes of torch.save': call(name('torch.storage._load_from_bytes'), value(b'\x80\x02' + call(CANARY) + b'.')),
    'a pickle in a pickle': call(name('pickle.loads'), value(b'\x80\x02' + call(CANARY) + b'.')),
    'a statistic of HistoryBuffer': build(
        new(name(HISTORY)), mapping(statistics_methods=mapping(mean=CANARY), max_length=value(3))
    ),
    'a method of HistoryBuffer': build(
        new(name(HISTORY)), mapping(mean=CANARY, _statistics_methods=mapping(mean=CANARY))
    ),
    'the dict of HistoryBuffer': call(
        stack_name(HISTORY[: -len('.HistoryBuffer')], 'HistoryBuffer._statistics_methods.update'), mapping(mean=CANARY)
    ),
    'an attribute of OrderedDict': build(call(name('collections.OrderedDict')), mapping(copy=CANARY)),
    'an attribute of a module': call(name('builtins.setattr'), name('torch.nn'), value('hostile'), value(1)),
    'a hook of a tensor': call(name('torch._utils._set_obj_state'), CANARY, value({'hostile': 1})),
    'a key': b'}' + new(name(f'{HERE}.Canary')) + value(1) + b's',
}

#: Attacks that would crash the process, read its memory, or fill it.
CRASHES = {
    'an array of objects in a buffer': call(name('numpy.ndarray'), value((1,)), dtype('O8', '|'), value(b'\x41' * 8)),
    'objects of bytes': build(ARRAY, items(value(1), value((1,)), dtype('O8', '|'), value(False), value(b'\x41' * 8))),
    'a scalar of an object': call(name('numpy.core.multiarray.scalar'), dtype('O8', '|'), value(b'\x41' * 8)),
    'records': build(
        ARRAY, items(value(1), value((1,)), dtype('V8', '|', None, ('a',), {'a': 1}), value(False), value(b'\x41' * 8))
    ),
    'an array without its bytes': build(
        ARRAY, items(value(1), value((10**12,)), dtype('f8'), value(False), value(b''))
    ),
    'text beyond Unicode': build(ARRAY, items(value(1), value((1,)), dtype('U1'), value(False), value(b'\xff' * 4))),
    'bytes without end': call(name('builtins.bytes'), value(10**12)),
    'a bytearray without end': call(name('builtins.bytearray'), value(10**12)),
    'a list without end': call(name('builtins.list'), call(name('builtins.range'), value(10**12))),
    'a bytearray that is announced': b'\x96' + (10**12).to_bytes(8, 'little'),
    'a text that is announced': b'\x8d' + (10**12).to_bytes(8, 'little'),
    'a frame that is announced': b'\x95' + (10**12).to_bytes(8, 'little') + b'N',
    'copies of one text': b']('
    + value('a' * 100_000)
    + b'q\xff'
    + call(name('_codecs.encode'), b'h\xff', value('latin1')) * 99
    + b'e',
    'a deep key': b'}' + b')' + b'\x85' * 300_000 + value(1) + b's',
    'a deep element': b'\x8f(' + b')' + b'\x85' * 300_000 + b'\x90',
}

#: Instructions that torch does not write.
INSTRUCTIONS = {
    'INST': b'(i' + HERE.encode() + b'\ncanary\n',
    'OBJ': b'(' + CANARY + b'o',
    'EXT1': b'\x82\x01' + b')R',
    'EXT4': b'\x84\x01\x00\x00\x00' + b')R',
    'PERSID': b'P1\n',
    'NEXT_BUFFER': b'\x97',
    'INT': b'I' + b'9' * 100 + b'\n',
    'DUP': b'N2',
}

CONTENT = {'meta': {'attack': 'ATTACK', 'epoch': 3}, 'state_dict': {'weight': torch.ones(1, 1)}, 'message_hub': {}}


def write(path, attack, *, content=None, legacy=False):
    """Write a checkpoint in which the text ``ATTACK`` is replaced by the piece of a pickle."""
    path = Path(path)
    torch.save(CONTENT if content is None else content, path, _use_new_zipfile_serialization=not legacy)
    if legacy:
        path.write_bytes(path.read_bytes().replace(MARKER, attack))
        return path
    with zipfile.ZipFile(path) as source:
        records = {entry.filename: source.read(entry) for entry in source.infolist()}
    with zipfile.ZipFile(path, 'w') as target:
        for record, data in records.items():
            target.writestr(record, data.replace(MARKER, attack))
    return path


def state_of_process():
    """The changes that the attacks would make beside calling the canary."""
    return (
        list(CALLS),
        dict(HistoryBuffer._statistics_methods),
        dict(vars(HistoryBuffer)),
        dict(vars(ConfigDict)),
        dict(vars(canary)),
        set(vars(torch.nn)),
        dict(copyreg.dispatch_table),
    )
