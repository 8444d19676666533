"""Pickles made of random instructions, and mutations of real ones.

    python tests/pickle_fuzz.py --number 100000 --seed 0

reads them with mmhoga's interpreter, and counts what came of it. It fails if the canary was called, or if an object
comes back whose methods are the file's.
"""

import argparse
import contextlib
import io
import pickle
import random
import resource
import time
import zipfile
from collections import Counter, OrderedDict

import hostile_checkpoints as hostile
import numpy as np
import torch
from hostile_checkpoints import value
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmhoga.compat.checkpoint.containers import _Storages
from mmhoga.compat.checkpoint.interpreter import Interpreter
from mmhoga.compat.checkpoint.names import _NAMES, find
from mmhoga.compat.checkpoint.objects import CheckpointError, Unknown
from mmhoga.compat.checkpoint.plain import with_types

TYPES = (
    *(str, int, float, bool, bytes, bytearray, complex, type(None), list, tuple, dict, set, frozenset),
    *(OrderedDict, Counter, ConfigDict, HistoryBuffer, Unknown, torch.Tensor, torch.nn.Parameter, torch.dtype),
    *(torch.Size, torch.device, np.ndarray, np.generic, np.dtype),
)
CANARIES = [f'{hostile.HERE}.canary', f'{hostile.HERE}.Canary', f'{hostile.HERE}.Canary.__new__']
NAMES = [
    *CANARIES,
    *_NAMES,
    *('builtins.getattr', 'builtins.setattr', 'builtins.eval', 'builtins.list', 'builtins.map', 'functools.partial'),
    *('copyreg._reconstructor', 'copyreg.__newobj__', 'operator.attrgetter', 'operator.methodcaller', 'numpy.ndarray'),
    *('torch._tensor._rebuild_from_type_v2', 'torch._utils._rebuild_qtensor', 'torch._utils._rebuild_sparse_tensor'),
    *('torch._utils._set_obj_state', 'torch.storage._load_from_bytes', 'torch.nn.Parameter', 'torch.Tensor'),
    f'{hostile.HISTORY}._statistics_methods.update',
]
# Instructions without an argument.
BARE = [bytes([code]) for code in b'(N\x88\x89)]}\x8ftlaeusR\x81b\x85\x86\x87\x90\x91\x92\x93Q012\x94o\x82']


def pushed(random, depth=0):
    """Instructions that put one object on the stack."""
    kind = random.randrange(10 if depth < 3 else 6)
    if kind < 2:
        return hostile.name(random.choice(random.choice([NAMES, CANARIES])))
    if kind == 2:
        module, _, name = random.choice(NAMES).rpartition('.')
        return hostile.stack_name(*random.choice([(module, name), tuple(f'{module}.{name}'.split('.', 1))]))
    if kind < 5:
        return value(
            random.choice([0, 1, -1, 255, 2**70, 0.5, 'a', 'f4', '<', 'cpu', 'storage', '', b'ab', b'', None, True])
        )
    if kind == 5:
        return random.choice([b')', b']', b'}', b'\x8f', value((2,)), value([1, 'a']), value({'a': 1}), value({1, 2})])
    if kind == 6:
        return random.choice(list(hostile.RUNS.values()))
    if kind == 7:
        return hostile.dtype(random.choice(['f4', 'f8', 'O8', 'V8', 'U2', 'b1', 'i8', 'M8']), random.choice('<>|='))
    if kind == 8:
        return pushed(random, depth + 1) + step(random, depth + 1)
    return hostile.items(*(pushed(random, depth + 1) for _ in range(random.randrange(4))))


def step(random, depth=0):
    """Instructions that use the object on top of the stack."""
    kind, some = random.randrange(11), [pushed(random, depth) for _ in range(random.randrange(4))]
    if kind < 4:
        return hostile.items(*some) + random.choice([b'R', b'R', b'\x81'])
    if kind == 4:
        return (
            random.choice([pushed(random, depth), hostile.mapping(a=pushed(random, depth)), hostile.items(*some)])
            + b'b'
        )
    if kind == 5:
        return b'(' + b''.join(some) + random.choice([b'e', b'\x90'])
    if kind == 6:
        return pushed(random, depth) + random.choice([b'a', pushed(random, depth) + b's'])
    if kind == 7:
        return b'(' + b''.join(value('k') + one for one in some) + b'u'
    if kind == 8:
        return random.choice([b'\x85', b')\x86', b'q', b'h']) + bytes([random.randrange(4)])
    if kind == 9:
        return b')}\x92' if random.random() < 0.5 else b'Q'
    return random.choice(BARE)


def made(random):
    content = pushed(random)
    for _ in range(random.randrange(1, 12)):
        content += random.choice([step, step, pushed])(random)
    return content


def real_pickles():
    """The pickles in files that torch writes."""
    contents = [
        {'state_dict': torch.nn.BatchNorm2d(2).state_dict(), 'meta': {'a': np.arange(3.0), 'b': np.float32(1)}},
        {'log_scalars': {'loss': HistoryBuffer([1.0], [1])}, 'cfg': ConfigDict(a=[1, ConfigDict(b=(2,))])},
        OrderedDict(w=torch.nn.Parameter(torch.ones(2, 3)), s={1, 2}, t=torch.float16, c=Counter('ab'), b=b'bytes'),
        {'mmhoga_types': [(['a'], 'numpy.ndarray'), (['h'], 'HistoryBuffer')], 'a': torch.ones(1), 'h': {'values': 1}},
    ]
    for content in contents:
        file = io.BytesIO()
        torch.save(content, file)
        with zipfile.ZipFile(file) as archive:
            yield archive.read(next(name for name in archive.namelist() if name.endswith('data.pkl')))[2:-1]


def random_part(random):
    return random.choice([pushed, step])(random)


def mutated(random, pickles):
    """A real pickle with bytes changed, parts removed or repeated, or instructions put in."""
    content = bytearray(random.choice(pickles))
    for _ in range(random.randrange(1, 6)):
        start = random.randrange(len(content))
        end = min(len(content), start + random.randrange(1, 12))
        change = random.randrange(4)
        if change == 0:
            content[start] = random.randrange(256)
        elif change == 1:
            content[start:end] = random_part(random)
        elif change == 2:
            content[start:start] = content[random.randrange(len(content)) :][:20]
        else:
            content[start:start] = random_part(random)
    return bytes(content)


def pickles(number, seed):
    """``number`` pickles of protocol 4, half of them made and half mutated."""
    generator, real = random.Random(seed), list(real_pickles())
    for index in range(number):
        yield b'\x80\x04' + (mutated(generator, real) if index % 2 else made(generator)) + b'.'


def read(content):
    """The fate of a pickle: 'refused', 'damaged' or 'read'. An object that is not inert raises AssertionError."""
    storages = _Storages(len(content), 'cpu')
    interpreter = Interpreter(find, lambda persistent_id: storages.get(persistent_id)[0])
    try:
        result = with_types(interpreter.run(io.BytesIO(content), len(content)))
    except CheckpointError:
        return 'refused'
    except MemoryError:
        raise
    except Exception:
        return 'damaged'
    seen, pending = set(), [result]
    while pending:
        part = pending.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        names = {kind.__name__ for kind in type(part).__mro__}
        # The rest are the interpreter's own: a name, a storage or a function of ours, which is nothing but a record.
        assert isinstance(part, TYPES) or names & {'Maker', 'Storage', 'StorageType'}, f'a {type(part)} came back'
        if isinstance(part, dict):
            pending += [*dict.keys(part), *dict.values(part)]
        elif isinstance(part, (list, tuple, set, frozenset)):
            pending += part
    return 'read'


def runs_in_an_ordinary_unpickler(content):
    """Whether a pickle calls the canary when the standard library reads it, with no other names than the canary's."""

    class Ordinary(pickle.Unpickler):
        def find_class(self, module, name):
            if module == hostile.HERE:
                return super().find_class(module, name)
            raise pickle.UnpicklingError

    with contextlib.suppress(Exception):
        Ordinary(io.BytesIO(content)).load()
    called = bool(hostile.CALLS)
    hostile.CALLS.clear()
    return called


def fuzz(number, seed):
    """Read the pickles and return the counts."""
    before, outcomes = hostile.state_of_process(), Counter()
    for index, content in enumerate(pickles(number, seed)):
        try:
            outcomes[read(content)] += 1
        except BaseException as error:
            raise AssertionError(f'pickle {index} of seed {seed}: {content!r}') from error
        assert not hostile.CALLS, f'pickle {index} of seed {seed} has run code: {content!r}'
    assert hostile.state_of_process() == before
    return outcomes


if __name__ == '__main__':
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--number', type=int, default=100_000)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    start, memory = time.time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(dict(fuzz(args.number, args.seed)), f'in {time.time() - start:.0f} s')
    print(f'memory: +{(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024:.0f} MB')
    number = min(args.number, 3000)
    harmful = sum(map(runs_in_an_ordinary_unpickler, pickles(number, args.seed)))
    print(f'the canary was not called; an ordinary unpickler calls it for {harmful} of the first {number}')
