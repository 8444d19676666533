"""Ordinary checkpoints come back as torch and mmengine would build them."""

import io
import math
import zipfile
from collections import Counter, OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.logging import HistoryBuffer

from mmhoga.compat.checkpoint import CheckpointError, Unknown, containers, read_checkpoint

# Not in torch 2.0.
NEW_TYPES = ('uint16', 'uint32', 'uint64', 'float8_e4m3fn')
FORMATS = pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])


def round_trip(value, legacy=False, **options):
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=not legacy, **options)
    file.seek(0)
    return read_checkpoint(file)


def same(left, right):
    """Equal in type and content, in every part."""
    assert type(left) is type(right)
    if isinstance(left, torch.Tensor):
        assert left.dtype == right.dtype and left.stride() == right.stride() and torch.equal(left, right)
        assert left.requires_grad == right.requires_grad
    elif isinstance(left, np.ndarray):
        assert left.dtype == right.dtype and left.flags.f_contiguous == right.flags.f_contiguous
        np.testing.assert_array_equal(left, right)
    elif isinstance(left, HistoryBuffer):
        same(left.data, right.data)
        same(left.max_length, right.max_length)
    elif isinstance(left, dict):
        same(list(left), list(right))
        for key in left:
            same(dict.__getitem__(left, key), dict.__getitem__(right, key))
    elif isinstance(left, (list, tuple)):
        assert len(left) == len(right)
        for pair in zip(left, right):
            same(*pair)
    elif isinstance(left, float) and math.isnan(left):
        assert math.isnan(right)
    else:
        assert left == right


@FORMATS
@pytest.mark.parametrize(
    'dtype',
    [
        *(torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.complex128, torch.bool),
        *(torch.int8, torch.uint8, torch.int16, torch.int32, torch.int64),
        *(getattr(torch, name) for name in NEW_TYPES if hasattr(torch, name)),
    ],
    ids=str,
)
def test_tensors_of_every_type(dtype, legacy):
    if legacy and str(dtype).partition('.')[2] in NEW_TYPES:
        pytest.skip('torch does not write them in this format')
    whole = torch.arange(24).to(dtype).reshape(2, 3, 4)
    content = {'whole': whole, 'part': whole[:, 1:, 2], 'turned': whole.transpose(0, 2), 'empty': whole[:0]}
    loaded = round_trip(content, legacy)
    assert {name: x.dtype for name, x in loaded.items()} == dict.fromkeys(content, dtype)
    if 'float8' not in str(dtype):  # which has no comparison
        same(loaded, content)


@FORMATS
def test_tensors_share_storages_as_before(legacy):
    weight = torch.arange(6.0)
    loaded = round_trip({'a': weight, 'b': weight, 'c': weight[2:4]}, legacy)
    assert loaded['a'] is loaded['b']
    loaded['a'][2] = 7
    assert loaded['c'].tolist() == [7, 3]


@FORMATS
def test_a_state_dict_keeps_its_versions_and_parameters(legacy):
    model = torch.nn.Sequential(torch.nn.Conv2d(2, 2, 1), torch.nn.BatchNorm2d(2)).to(memory_format=torch.channels_last)
    saved = {**model.state_dict(), 'own': torch.nn.Parameter(torch.ones(2))}
    loaded = round_trip(saved, legacy)
    same(loaded, saved)
    loaded = round_trip(model.state_dict(), legacy)
    assert type(loaded) is OrderedDict
    assert loaded._metadata == model.state_dict()._metadata and loaded._metadata['1']['version'] == 2
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2, 2, 2)).sum().backward()
    optimizer.step()
    same(round_trip(optimizer.state_dict(), legacy), optimizer.state_dict())


KINDS = ['?', 'b', 'B', 'h', 'i', 'l', 'L', 'e', 'f', 'd', 'F', 'D', 'g', 'U4', 'S4', '>f4', '>U3']


@pytest.mark.parametrize('kind', KINDS)
def test_arrays_and_scalars_of_every_kind(kind):
    array = np.array([0, 1, 3]).astype(kind)
    content = {
        'array': array,
        'scalar': array[1],
        'fortran': np.asfortranarray(np.stack([array, array])),
        'none': array[:0].reshape(0, 2),
        'single': np.array(array[1]),
    }
    same(round_trip(content), content)
    loaded = round_trip(content)['array']
    loaded[0] = 1  # it can be written to
    assert loaded[0] == array[1]


@FORMATS
def test_plain_values_and_containers(legacy):
    content = OrderedDict(
        numbers=[0, -1, 255, 70_000, 2**40, -(2**70), 2**3000, 0.1, math.inf, math.nan, 1 + 2j, True, None],
        text=['', 'a', 'ü' * 300, 'x' * 70_000, '\ud800'],
        data=[b'', b'a', bytes(range(256)), bytearray(b'xy'), bytearray()],
        tuples=[(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4)],
        sets=[set(), {1, 'a'}, frozenset({(1, 2)})],
        keys={1: 'a', (2, ('b', None)): 'c', 1.5: 0, b'x': 1},
        counter=Counter('aab'),
        config=ConfigDict(a=ConfigDict(b=[1, ConfigDict(c=2)])),
        torch=[torch.float16, torch.Size([1, 2]), torch.device('cuda', 1), torch.device('cpu')],
        history=[HistoryBuffer(), HistoryBuffer([1.0, 2.0], [1, 3]), HistoryBuffer([1], [1], max_length=7)],
    )
    for protocol in (2, 3, 4, 5):
        same(round_trip(content, legacy, pickle_protocol=protocol), content)
    loaded = round_trip({'a': defaultdict(list, b=[1]), 'c': defaultdict(int)})
    same(loaded, {'a': {'b': [1]}, 'c': {}})  # without its factory


def test_a_history_is_a_working_one():
    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    loaded = round_trip(buffer)
    loaded.update(6.0)
    assert loaded.mean() == 3 and loaded.statistics('max') == 6
    loaded = round_trip({'h': [buffer, buffer]})['h']
    assert loaded[0] is loaded[1]


def test_an_object_that_contains_itself():
    content = {'list': []}
    content['list'].append(content['list'])
    loaded = round_trip(content)['list']
    assert loaded[0] is loaded


@pytest.mark.parametrize('module', [b'numpy.core.multiarray', b'numpy._core.multiarray'])
def test_checkpoints_written_with_numpy_1_and_2_both_load(module, tmp_path):
    torch.save(np.arange(3), tmp_path / 'mine')
    with zipfile.ZipFile(tmp_path / 'mine') as source, zipfile.ZipFile(tmp_path / 'theirs', 'w') as target:
        for name in source.namelist():
            content = source.read(name)
            for spelling in (b'cnumpy.core.multiarray\n', b'cnumpy._core.multiarray\n'):
                content = content.replace(spelling, b'c' + module + b'\n')
            target.writestr(name, content)
    assert read_checkpoint(tmp_path / 'theirs').tolist() == [0, 1, 2]


class Note:
    def __init__(self, text):
        self.text = text


def test_what_is_unknown_is_named_and_the_rest_is_loaded(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(containers, 'print_log', lambda text, **_: shown.append(text))
    content = {'meta': {'note': Note('a'), 'epoch': 1}, 'state_dict': {'w': torch.ones(1)}}
    content['meta']['objects'] = np.array([Note('b')])
    torch.save(content, tmp_path / 'a.pth')
    loaded = read_checkpoint(tmp_path / 'a.pth')
    assert loaded['meta']['epoch'] == 1 and loaded['state_dict']['w'].tolist() == [1]
    for name, kind in (('note', f'{Note.__module__}.Note'), ('objects', 'numpy.ndarray')):
        assert isinstance(loaded['meta'][name], Unknown)
        assert loaded['meta'][name].name == kind and not hasattr(loaded['meta'][name], 'text')
    assert shown == [f'{tmp_path}/a.pth: left out what is no plain data: numpy.ndarray, {Note.__module__}.Note.']


def test_places(tmp_path):
    torch.save({'w': torch.ones(2)}, tmp_path / 'a.pth')
    for place in (None, 'cpu', torch.device('cpu'), {'cpu': 'cpu'}, lambda storage, _: storage):
        assert read_checkpoint(tmp_path / 'a.pth', place)['w'].tolist() == [1, 1]
    assert read_checkpoint(tmp_path / 'a.pth', 'meta')['w'].device.type == 'meta'
    if not torch.cuda.is_available():
        with pytest.raises(CheckpointError, match=r"map_location='cpu'.*is_available\(\) is False"):
            read_checkpoint(tmp_path / 'a.pth', 'cuda')


def test_safetensors(tmp_path):
    from safetensors.torch import save_file

    save_file({'w': torch.ones(2)}, tmp_path / 'a.safetensors')
    assert read_checkpoint(tmp_path / 'a.safetensors', 'cpu')['w'].tolist() == [1, 1]
