"""No checkpoint runs code, whatever reads it. The canary of ``hostile_checkpoints`` stays untouched."""

import copy
import pickle
import re
import resource
import sys
import threading
import zipfile
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import hostile_checkpoints as hostile
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric, Evaluator
from mmengine.model import BaseModel, BaseModule
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint
from mmengine.runner.checkpoint import _load_checkpoint_with_prefix

from mmhoga.cli.export import publish
from mmhoga.compat.checkpoint import CheckpointError, Unknown, read_checkpoint
from mmhoga.compat.checkpoint.host_files import without_instructions
from mmhoga.hosts import LaunchError

ALL = {**hostile.RUNS, **hostile.CRASHES, **hostile.INSTRUCTIONS}
LOADABLE = b'](' + b''.join(hostile.RUNS.values()) + b'e'  # all attacks in one list


@pytest.fixture(autouse=True)
def unchanged():
    """The process is the same after every test."""
    before = hostile.state_of_process()
    yield
    assert hostile.state_of_process() == before


@contextmanager
def forgotten():
    """For the tests that show an attack to be real: undo what it did."""
    import mmengine.logging

    methods = dict(mmengine.logging.HistoryBuffer._statistics_methods)
    yield
    hostile.CALLS.clear()
    mmengine.logging.HistoryBuffer._statistics_methods.clear()
    mmengine.logging.HistoryBuffer._statistics_methods.update(methods)
    for owner in (torch.nn, hostile.canary):
        vars(owner).pop('hostile', None)


@pytest.mark.parametrize('attack', hostile.RUNS)
def test_the_attacks_are_real(attack):
    """An ordinary unpickler runs them or, for the attributes, sets what it should not."""
    with forgotten():
        before = hostile.state_of_process()
        try:
            result = pickle.loads(b'\x80\x04' + hostile.RUNS[attack] + b'.')
        except Exception:
            result = None
        changed = hostile.state_of_process() != before
        attributes = getattr(result, '__dict__', {})
        assert changed or hostile.canary in attributes.values()


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
@pytest.mark.parametrize('attack', ALL)
def test_the_reader(attack, legacy, tmp_path):
    path = hostile.write(tmp_path / 'a.pth', ALL[attack], legacy=legacy)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        loaded = read_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in str(error) and 'weights_only' not in str(error) and len(str(error)) < len(str(path)) + 200
    else:
        assert set(loaded) == {'meta', 'state_dict', 'message_hub'}
        assert loaded['meta']['epoch'] == 3 and torch.equal(loaded['state_dict']['weight'], torch.ones(1, 1))
        assert_inert(loaded['meta']['attack'])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 400_000  # KB


def assert_inert(content):
    """Only types whose methods are Python's, torch's, numpy's or mmengine's own, without attributes of the file."""
    pending = [content]
    while pending:
        value = pending.pop()
        assert not callable(value) and value is not hostile.Canary
        assert set(getattr(value, '__dict__', ())) <= {'_metadata', '__parent', '__key', '__frozen', 'max_length',
                                                       '_log_history', '_count_history'}  # fmt: skip
        module = type(value).__module__.partition('.')[0]
        assert module in ('builtins', 'collections', 'torch', 'numpy', 'mmengine', 'mmhoga')
        assert module != 'mmhoga' or isinstance(value, Unknown)
        if isinstance(value, dict):
            pending += [*value, *dict.values(value)]
        elif isinstance(value, (list, tuple, set, frozenset)):
            pending += value


@pytest.mark.parametrize('attack', hostile.RUNS)
def test_what_is_not_plain_is_refused_as_a_weight(attack, tmp_path):
    content = {'state_dict': {'weight': 'ATTACK'}}
    path = hostile.write(tmp_path / 'a.pth', hostile.RUNS[attack], content=content)
    try:
        loaded = read_checkpoint(path)
    except CheckpointError:
        return
    assert attack in ('an attribute of OrderedDict', 'a key')
    assert_inert(loaded)


def test_a_name_is_said_and_is_safe_to_print(tmp_path, caplog):
    path = hostile.write(tmp_path / 'a.pth', hostile.call(hostile.stack_name('posix', 'system'), hostile.value('ls')))
    loaded = read_checkpoint(path)
    assert repr(loaded['meta']['attack']) == '<not loaded: posix.system>'
    path = hostile.write(tmp_path / 'a.pth', hostile.stack_name('\x1b[31m', 'ü' * 1000))
    assert repr(read_checkpoint(path)['meta']['attack']) == f'<not loaded: ?[31m.{"?" * 74}...>'


# Every way to load: all attacks in one file, in every place of a checkpoint.


class Data(BaseDataset):
    def load_data_list(self):
        return [{'x': float(i)} for i in range(2)]


class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1, 1))

    def forward(self, x, sample_idx=None, mode='tensor'):
        loss = (self.weight * x.float()).sum()
        return {'loss': loss} if mode == 'loss' else [loss]


class Score(BaseMetric):
    default_prefix = ''

    def process(self, data_batch, data_samples):
        self.results.append(1.0)

    def compute_metrics(self, results):
        return {'loss': 0.5}


LOADER = {
    'dataset': Data(),
    'sampler': {'type': 'DefaultSampler'},
    'batch_size': 2,
    'collate_fn': {'type': 'default_collate'},
}


def runner(work_dir, epochs=1, **options):
    return Runner(
        Line(),
        str(work_dir),
        train_dataloader=LOADER,
        train_cfg={'by_epoch': True, 'max_epochs': epochs},
        optim_wrapper={'optimizer': {'type': 'SGD', 'lr': 0.1}},
        experiment_name=f'attack_{work_dir.name}_{len(options)}',
        **options,
    )


@pytest.fixture
def file(tmp_path):
    """A checkpoint of a training, with all the attacks in meta, the message hub, the optimizer and a key of its own."""
    saved = runner(tmp_path / 'first')
    saved.train()
    content = torch.load(tmp_path / 'first' / 'epoch_1.pth', weights_only=True)
    content['meta']['attack'] = content['own'] = content['message_hub']['runtime_info']['attack'] = 'ATTACK'
    content['message_hub']['log_scalars']['attack'] = content['message_hub']['resumed_keys']['attack'] = 'ATTACK'
    content['optimizer']['attack'] = 'ATTACK'
    content['state_dict'] = {'weight': torch.ones(1, 1)}
    return hostile.write(tmp_path / 'all.pth', LOADABLE, content=content)


@contextmanager
def served(folder):
    """The folder at an HTTP address of this machine."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    handler.log_message = lambda *_: None
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f'http://127.0.0.1:{server.server_port}'
        finally:  # or its thread reads the closed socket again and again, to the end of all tests
            server.shutdown()


def by_resuming(path):
    resumed = runner(path.parent / 'resumed', resume=True, load_from=str(path))
    resumed.load_or_resume()
    return resumed.model


def by_load_from(path):
    trained = runner(path.parent / 'fine', load_from=str(path))
    trained.load_or_resume()
    return trained.model


def by_init_cfg(path):
    class Pretrained(BaseModule):
        def __init__(self):
            super().__init__(init_cfg={'type': 'Pretrained', 'checkpoint': str(path)})
            self.weight = torch.nn.Parameter(torch.zeros(1, 1))

    module = Pretrained()
    module.init_weights()
    return module


def by_load_checkpoint(path):
    load_checkpoint(model := Line(), str(path))
    return model


def by_a_url(path):
    with served(path.parent) as address:
        load_checkpoint(model := Line(), f'{address}/{path.name}')
    return model


def by_publishing(path):
    return read_checkpoint(publish(path, path.parent / 'published.pth'))['state_dict']


WAYS = {
    'load_checkpoint': by_load_checkpoint,
    'a URL': by_a_url,
    'load_from': by_load_from,
    'resume': by_resuming,
    'init_cfg': by_init_cfg,
    'publish': by_publishing,
}


@pytest.mark.parametrize('way', WAYS)
def test_every_way_to_load(way, file, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(file.parent / 'hub'))
    loaded = WAYS[way](file)
    assert torch.equal(getattr(loaded, 'weight', None) if way != 'publish' else loaded['weight'], torch.ones(1, 1))


@pytest.mark.parametrize('way', WAYS)
def test_every_way_to_load_refuses_it_as_a_weight(way, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'hub'))
    content = {'state_dict': {'weight': 'ATTACK'}, 'meta': {}}
    path = hostile.write(tmp_path / 'weight.pth', LOADABLE, content=content)
    with pytest.raises((CheckpointError, LaunchError), match=r'has .* in its weights'):
        WAYS[way](path)


def test_a_prefix_and_every_scheme_of_mmengine(tmp_path, monkeypatch):
    """All of mmengine's loaders end in the same two functions, also for the stores that need a package of their own."""
    path = hostile.write(tmp_path / 'a.pth', LOADABLE)
    with pytest.raises(AssertionError, match='is not in the pretrained model'):
        _load_checkpoint_with_prefix('backbone', str(path))
    module = sys.modules['mmengine.runner.checkpoint']

    class Store:
        def get(self, name):
            return path.read_bytes()

    monkeypatch.setattr(module, 'get_file_backend', lambda *_, **__: Store())
    loaded = CheckpointLoader.load_checkpoint('s3://bucket/a.pth')
    assert_inert(loaded['meta']['attack'])
    monkeypatch.setattr(module, 'get_external_models', lambda: {'mine': 'a.pth'})
    monkeypatch.setenv('MMENGINE_HOME', str(tmp_path))
    assert_inert(CheckpointLoader.load_checkpoint('open-mmlab://mine')['meta']['attack'])


# Plain data that mmengine acts on when it resumes


def test_resuming_runs_no_text_and_deletes_nothing_elsewhere(tmp_path):
    """mmengine runs ``meta.config`` as a config, and deletes the last best checkpoint, whatever path it has."""
    runner(tmp_path / 'first').train()
    path, precious = tmp_path / 'first' / 'epoch_1.pth', tmp_path / 'precious'
    precious.mkdir()
    saved = torch.load(path, weights_only=True)
    saved['meta']['config'] = "x = __import__('hostile_checkpoints').canary()"
    saved['message_hub']['runtime_info'].update(best_ckpt=str(precious), best_score=1e9, keep_ckpt_ids=['/../../x'])
    saved['message_hub']['resumed_keys'].update(best_ckpt=True, best_score=True, keep_ckpt_ids=True)
    torch.save(saved, path)
    options = {'save_best': 'loss', 'rule': 'less', 'max_keep_ckpts': 1}
    resumed = runner(
        tmp_path / 'first',
        resume=True,
        load_from=str(path),
        epochs=2,
        val_dataloader=LOADER,
        val_cfg={},
        val_evaluator=Evaluator(Score()),
        default_hooks={'checkpoint': {'type': 'CheckpointHook', 'interval': 1, **options}},
    )
    resumed.train()
    assert resumed.epoch == 2 and precious.is_dir()
    assert [file.name for file in (tmp_path / 'first').glob('best*')] == ['best_loss_epoch_2.pth']


@pytest.mark.parametrize(
    ('information', 'left'),
    [
        ({'best_ckpt': 'FOLDER/best_epoch_1.pth', 'keep_ckpt_ids': [1, 2]}, {'best_ckpt', 'keep_ckpt_ids'}),
        ({'best_ckpt_loss': 'FOLDER/../other.pth', 'keep_ckpt_ids': ['1']}, set()),
        ({'best_ckpt': 'FOLDER', 'best_ckpt_a': 'FOLDER/text.txt', 'best_ckpt_b': 1, 'iter': 3}, {'iter'}),
    ],
)
def test_what_mmengine_acts_on_is_removed_unless_it_is_its_own(information, left, tmp_path):
    filled = {k: v.replace('FOLDER', str(tmp_path)) if isinstance(v, str) else v for k, v in information.items()}
    checkpoint = {'meta': {'config': 'x', 'cfg': 'y'}, 'message_hub': {'runtime_info': filled}}
    changed = without_instructions(checkpoint, tmp_path)
    assert set(changed['message_hub']['runtime_info']) == left and changed['meta'] == {'cfg': 'y'}
    without_instructions(checkpoint, None)  # from a stream or a URL
    assert not any(key.startswith('best') for key in checkpoint['message_hub']['runtime_info'])
    for other in (None, [1], {'meta': 1}, {'meta': {}, 'message_hub': 2}, {'message_hub': {'runtime_info': 3}}):
        assert without_instructions(copy.deepcopy(other), tmp_path) == other


# Files


def test_programs_and_other_archives_are_refused(tmp_path):
    torch.jit.script(torch.nn.Linear(1, 1)).save(str(tmp_path / 'program.pth'))
    with zipfile.ZipFile(tmp_path / 'other.pth', 'w') as archive:
        archive.writestr('a', 'b')
    (tmp_path / 'text.pth').write_text('no pickle')
    (tmp_path / 'empty.pth').touch()
    (tmp_path / 'plain.pth').write_bytes(pickle.dumps({'state_dict': {}}))
    torch.save(torch.nn.Linear(1, 1), tmp_path / 'model.pth')
    torch.save(torch.ones(2).to_sparse(), tmp_path / 'sparse.pth')
    for file, problem in {
        'program': 'it is a TorchScript program',
        'other': 'it is a zip archive of something else',
        'text': 'torch.save did not write it',
        'empty': 'torch.save did not write it',
        'plain': 'torch.save did not write it',
        'model': r'has torch\.nn\.modules\.linear\.Linear in its weights',
        'sparse': r'has torch\._utils\._rebuild_sparse_tensor in its weights',
    }.items():
        with pytest.raises(CheckpointError, match=problem):
            read_checkpoint(tmp_path / f'{file}.pth')


def test_compressed_and_large_archives_are_refused(tmp_path):
    path = hostile.write(tmp_path / 'a.pth', hostile.value(1))
    with zipfile.ZipFile(path) as source:
        records = {entry.filename: source.read(entry) for entry in source.infolist()}
    with zipfile.ZipFile(tmp_path / 'small.pth', 'w', zipfile.ZIP_DEFLATED) as target:
        for record, data in records.items():
            target.writestr(record, data)
    with pytest.raises(CheckpointError, match='compressed'):
        read_checkpoint(tmp_path / 'small.pth')
    for numel, problem in ((10**12, 'larger than the file'), (2, 'do not have the sizes')):
        (record,) = (data for record, data in records.items() if record.endswith('data.pkl'))
        changed, count = re.subn(rb'K\x01(tq.Q)', lambda found, numel=numel: hostile.value(numel) + found[1], record)
        assert count == 1
        with zipfile.ZipFile(tmp_path / 'large.pth', 'w') as target:
            for name, data in records.items():
                target.writestr(name, changed if data == record else data)
        with pytest.raises(CheckpointError, match=problem):
            read_checkpoint(tmp_path / 'large.pth')


@pytest.mark.parametrize(
    ('size', 'stride', 'offset'),
    [
        ((5,), (1,), 0),
        ((2,), (4,), 0),
        ((1,), (1,), 4),
        ((2,), (-1,), 1),
        ((-1,), (1,), 0),
        ((2, 3), (1,), 0),
        ((2**40, 2**40), (0, 0), 0),
        ((2**21,), (0,), 0),
        ((True,), (1,), 0),
        ((1.0,), (1,), 0),
        ((2**63,), (0,), 0),
    ],
)
def test_tensors_outside_their_storage_are_refused(size, stride, offset):
    from mmhoga.compat.checkpoint.names import tensor
    from mmhoga.compat.checkpoint.objects import Storage

    storage = Storage(torch.arange(4.0).untyped_storage(), torch.float32, 4)
    assert tensor(storage, 1, (3,), (1,)).tolist() == [1, 2, 3]
    assert tensor(storage, 3, (7,), (0,)).tolist() == [3] * 7
    assert tensor(storage, 4, (0,), (1,)).tolist() == []
    with pytest.raises(CheckpointError):
        tensor(storage, offset, size, stride)


@pytest.mark.parametrize('legacy', [False, True], ids=['zip', 'legacy'])
def test_a_file_cut_off_anywhere(legacy, tmp_path):
    path = hostile.write(tmp_path / 'a.pth', hostile.value(1), legacy=legacy)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match='cannot be read as a checkpoint'):
            read_checkpoint(path)
