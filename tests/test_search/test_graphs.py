"""Captured steps, with a recorder of operators in place of CUDA. Like a graph, it replays them on the same memory."""

import pytest
import torch
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from mmhoga.search import SearchError, graphs
from mmhoga.search.graphs import CapturedGradients, Transfer


def aliases(arguments):
    """The same memory as it is now. An operator such as ``squeeze_`` changes the shape of a tensor later."""
    return tree_map(lambda leaf: leaf.detach() if isinstance(leaf, Tensor) else leaf, arguments)


class Recorder(TorchDispatchMode):
    """Records the operators below autograd. Nothing that existed before is changed by the recording itself."""

    def __init__(self):
        super().__init__()
        self.calls, self.before, self.made, self.replays = [], {}, set(), 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if str(func).startswith('aten._local_scalar_dense'):
            raise RuntimeError('operation not permitted when stream is capturing')
        inputs = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        # The schema of native_batch_norm does not declare that it updates running statistics.
        if func._schema.is_mutable or func is torch.ops.aten.native_batch_norm.default:
            for tensor in inputs:
                if tensor.untyped_storage().data_ptr() not in self.made:
                    self.before.setdefault(id(tensor), (tensor, tensor.detach().clone()))
        recorded = aliases((args, kwargs))
        outputs = func(*args, **kwargs)
        known = {tensor.untyped_storage().data_ptr() for tensor in inputs}
        fresh = [
            (i, leaf.detach())
            for i, leaf in enumerate(tree_leaves(outputs))
            if isinstance(leaf, Tensor) and leaf.untyped_storage().data_ptr() not in known
        ]
        self.made |= {leaf.untyped_storage().data_ptr() for _, leaf in fresh}
        self.calls.append((func, recorded, fresh))
        return outputs

    def finish(self):
        with torch.no_grad():
            for tensor, value in self.before.values():
                tensor.copy_(value)
            for _, _, fresh in self.calls:
                for _, output in fresh:
                    output.fill_(-7)  # a graph has results after its first replay only

    def replay(self):
        self.replays += 1
        with torch.no_grad():
            for func, recorded, fresh in self.calls:
                args, kwargs = aliases(recorded)
                outputs = tree_leaves(func(*args, **kwargs))
                for i, output in fresh:
                    output.copy_(outputs[i])


class FakeGraph:
    recorders = []

    @staticmethod
    def warm_up(run):
        return run()

    @classmethod
    def capture(cls, run):
        generator = torch.get_rng_state()
        recorder = Recorder()
        with recorder:
            result = run()
        recorder.finish()
        torch.set_rng_state(generator)
        cls.recorders.append(recorder)
        return recorder.replay, result


def as_is():
    return Transfer(lambda data, training: data, torch.device('cpu'))


@pytest.fixture
def recorded(monkeypatch):
    monkeypatch.setattr(graphs, 'Graph', FakeGraph)
    monkeypatch.setattr('mmhoga.search.loop.require_capturable', lambda *_: None)
    FakeGraph.recorders = []
    return FakeGraph.recorders


def search(config, name, **changes):
    config = config.copy()
    config.merge_from_dict({'experiment_name': name, 'train_cfg.max_epochs': 3, **changes})
    config.work_dir += name
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def assert_equal_runs(one, other):
    states = one.model.state_dict(), other.model.state_dict()
    for name, value in states[0].items():
        assert torch.equal(value, states[1][name]), name
    scalars = [runner.message_hub.log_scalars for runner in (one, other)]
    for key in ('train/loss', 'train/alpha_loss', 'train/grad_norm'):
        assert scalars[0][key].data[0].tolist() == scalars[1][key].data[0].tolist(), key


def test_a_captured_search_is_the_eager_one(search_config, recorded, monkeypatch):
    """Bit for bit, with mixed precision, dropout, sampling, schedules, clipping, a cost, and a smaller last batch."""
    cfg = search_config
    cfg.model.architecture.dropout = 0.3
    cfg.model.cost = dict(metric='macs', weight=0.1, input_shape=(1, 8, 8))
    cfg.train_cfg.update(sampling='gumbel', temperature=dict(start=5.0, end=1.0))
    cfg.train_dataloader.dataset.dataset.indices = cfg.train_cfg.alpha_dataloader.dataset.dataset.indices = 44
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available', lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler', lambda **_: torch.amp.GradScaler('cpu'))
    for wrapper in (cfg.optim_wrapper.weights, cfg.optim_wrapper.alpha):
        wrapper.update(type='AmpOptimWrapper', dtype='bfloat16', clip_grad=dict(max_norm=0.5))
    eager = search(cfg, 'eager')
    captured = search(cfg, 'captured', **{'train_cfg.cuda_graphs': True})
    assert_equal_runs(eager, captured)
    assert [recorder.replays for recorder in recorded] == [3, 3], '9 iterations: 3 last batches, 3 of warm-up'


def test_a_captured_function_is_refused_if_it_reads_a_value(recorded):
    def compute(batch):
        return {'loss': batch['x'].sum()}, [batch['x'] * float(batch['x'].sum())]

    captured = CapturedGradients(compute, as_is())
    batch = {'x': torch.ones(2)}
    for _ in range(graphs.WARM_UP):
        captured(batch)
    with pytest.raises(SearchError, match='cannot be captured in a CUDA graph: operation not permitted'):
        captured(batch)


def test_batches(recorded):
    """Tensors in data elements and containers are replaced, metainfo is left out, and other forms run eagerly."""
    seen = []

    def compute(batch):
        seen.append(batch)
        total = batch['inputs'].sum() + sum(sample.label.sum() for sample in batch['samples'])
        return {'loss': total}, [total * 2, None]

    def batch(value, images=2, text='a'):
        samples = [
            BaseDataElement(metainfo={'path': f'{value}.png'}, label=torch.tensor([value])) for _ in range(images)
        ]
        return {'inputs': torch.full((images, 3), float(value)), 'samples': samples, 'kind': (text, None, 1.5)}

    captured = CapturedGradients(compute, as_is())
    logs = [captured(batch(value))[0]['loss'] for value in range(5)]
    assert [float(log) for log in logs] == [8 * value for value in range(5)], 'logged values are not overwritten'
    log, gradients = captured(batch(7))
    assert float(log['loss']) == 56 and float(gradients[0]) == 112 and gradients[1] is None
    assert len(seen) == graphs.WARM_UP + 1 and recorded[0].replays == 3
    assert all(not sample.metainfo_keys() for each in seen for sample in each['samples'])
    assert float(captured(batch(7, images=3))[0]['loss']) == 84 and len(seen) == graphs.WARM_UP + 2
    assert float(captured(batch(7, text='b'))[0]['loss']) == 56 and len(seen) == graphs.WARM_UP + 3
    with pytest.raises(SearchError, match='A batch holds a set'):
        captured({'inputs': {1}})


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (
            {'train_cfg.order': 2, 'optim_wrapper.alpha.accumulative_counts': 2},
            'needs a CUDA GPU, and the model is on cpu; train_cfg.order=1; optim_wrapper.alpha of type',
        ),
        ({'compile': True}, 'captures the steps as they are, without compile'),
    ],
)
def test_settings_that_cannot_be_captured(search_config, changes, message):
    with pytest.raises(ValueError, match=message):
        search(search_config, 'refused', **{'train_cfg.cuda_graphs': True, **changes})
