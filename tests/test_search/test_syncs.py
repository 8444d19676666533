"""Reads of tensors by the host: on an accelerator, each one waits for all work before it."""

import pytest
import torch
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner import Runner
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from mmhoga.models import HOGA, SearchableHOGA
from mmhoga.search import SearchError, SearchLoop, SearchModel
from mmhoga.search.finite import FiniteWatch
from mmhoga.search.records.hub import DeferredHub

# The size of the result depends on values, so a host must wait for it.
DATA_DEPENDENT = {'aten.nonzero', 'aten.masked_select', 'aten._unique2', 'aten.equal'}


class Reads(TorchDispatchMode):
    """Lists the operators that make a host wait. Counters of optimizer steps are on the CPU, and do not."""

    def __init__(self, wrappers):
        super().__init__()
        self.names = []
        self.wrappers = wrappers

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func).rpartition('.')[0]
        if name in DATA_DEPENDENT or (name == 'aten._local_scalar_dense' and not self.is_counter(args[0])):
            self.names.append(name)
        return func(*args, **(kwargs or {}))

    def is_counter(self, tensor):
        states = [state for wrapper in self.wrappers.values() for state in wrapper.optimizer.state.values()]
        return any('step' in state and tensor.data_ptr() == state['step'].data_ptr() for state in states)


def reads_by_iteration(config, monkeypatch):
    reads = []
    run_iter = SearchLoop.run_iter

    def recording(self, *args):
        with Reads(self.runner.optim_wrapper) as mode:
            run_iter(self, *args)
        reads.append(mode.names)

    monkeypatch.setattr(SearchLoop, 'run_iter', recording)
    runner = Runner.from_cfg(config)
    runner.train()
    return reads, runner


@pytest.mark.parametrize('step', [{}, dict(order=2), dict(order=2, hessian='exact')], ids=['1', '2', 'exact'])
def test_an_iteration_reads_nothing(search_config, monkeypatch, step):
    """Of 6 iterations only the fifth is logged."""
    search_config.train_cfg.update(step, sampling='gumbel')
    search_config.default_hooks.logger = dict(type='LoggerHook', interval=2)
    for wrapper in (search_config.optim_wrapper.weights, search_config.optim_wrapper.alpha):
        wrapper.clip_grad = dict(max_norm=5)
    reads, runner = reads_by_iteration(search_config, monkeypatch)
    assert [bool(each) for each in reads] == [False, True, False, False, True, False]
    scalars = runner.message_hub.log_scalars
    for key in ('loss', 'alpha_loss', 'grad_norm'):
        history, counts = scalars[f'train/{key}'].data
        assert len(history) == (12 if key == 'grad_norm' else 6) and set(counts) == {1}
        assert torch.tensor(history).isfinite().all() and len(set(history)) == len(history)


def test_a_stop_request_reads_no_tensor(search_config, monkeypatch):
    """The mode of this test notices a read: mmengine's own hub reads each loss."""
    monkeypatch.setattr(DeferredHub, 'install', lambda runner: None)
    reads, _ = reads_by_iteration(search_config, monkeypatch)
    assert all(names.count('aten._local_scalar_dense') == 2 for names in reads)


def test_the_hub_has_the_values_of_mmengines():
    values = [1, torch.tensor(0.1), torch.tensor([2.5], dtype=torch.bfloat16), 3.0, torch.tensor(7), 0.25]
    hubs = MessageHub('plain'), MessageHub('deferred')
    hubs[1].__class__, hubs[1]._pending = DeferredHub, []
    for hub in hubs:
        changing = torch.tensor(4.0)
        for count, value in enumerate(values, 1):
            hub.update_scalar('a', value, count)
            hub.update_scalar('b', changing)
            changing += 1
        hub.update_scalar('c', torch.tensor(1.5), resumed=False)
    for key in 'abc':
        plain, deferred = (hub.get_scalar(key).data for hub in hubs)
        assert [part.tolist() for part in plain] == [part.tolist() for part in deferred]
    states = [hub.state_dict()['log_scalars'] for hub in hubs]
    assert states[0].keys() == states[1].keys() == {'a', 'b'}
    assert isinstance(hubs[1].log_scalars['a'], HistoryBuffer)
    with pytest.raises(AssertionError):
        hubs[1].update_scalar('a', torch.zeros(2))


@pytest.mark.parametrize('bad', [float('nan'), float('inf')])
def test_the_watch_names_the_first_bad_iteration(bad):
    watch = FiniteWatch()
    alphas = [torch.zeros(3), torch.zeros(2)]
    watch.update(alphas, torch.tensor(1.0), 5)
    watch.require(1)
    for iteration in range(6, 10):
        if iteration == 8:
            alphas[1][1] = bad
        if iteration == 9:
            alphas[1][1] = 0
        watch.update(alphas, torch.tensor(float(iteration)), iteration)
    for _ in range(2):
        with pytest.raises(SearchError, match=r'after iteration 8 \(epoch 2\); the loss on trainB was 8\. The'):
            watch.require(2)


@pytest.mark.parametrize('where', ['an error of the model', 'a checkpoint within the epoch', 'SIGTERM'])
def test_alpha_is_checked_before_anything_else_is_done(search_config, monkeypatch, where, tmp_path):
    """Alpha becomes NaN in the second of 3 iterations, and no line of the log follows."""
    alpha_loss = SearchModel.alpha_loss
    calls = []

    def fails_at_the_second(self, data):
        loss, log = alpha_loss(self, data)
        calls.append(loss)
        if len(calls) == 3 and where == 'an error of the model':
            raise IndexError('no box')
        return (loss * float('nan') if len(calls) == 2 else loss), log

    monkeypatch.setattr(SearchModel, 'alpha_loss', fails_at_the_second)
    if where == 'a checkpoint within the epoch':
        search_config.default_hooks.checkpoint.update(interval=2, by_epoch=False)
    if where == 'SIGTERM':
        monkeypatch.setattr('mmhoga.search.loop.StopRequest.in_any_process', lambda self: len(calls) == 2)
    with pytest.raises(SearchError, match=r'not finite after iteration 2 \(epoch 1\)'):
        Runner.from_cfg(search_config).train()
    assert len(calls) == (3 if where == 'an error of the model' else 2)
    assert not list(tmp_path.glob('**/*.pth'))


class FromHost(TorchDispatchMode):
    """Lists the operators that read a tensor of the CPU. On an accelerator each of them copies it, and waits."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        leaves = tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type == 'cpu' for leaf in leaves):
            self.names.append(str(func))
        return result


@pytest.mark.parametrize('kind', [HOGA, SearchableHOGA])
def test_a_step_copies_nothing_to_the_device(kind):
    """On the device meta, whose tensors have no data. The first pass in eval mode moves constants."""
    cell = kind(16).to('meta')
    x = torch.empty(2, 16, 8, 8, device='meta')
    with FromHost() as mode:
        cell(x).sum().backward()
    assert not mode.names
    with torch.no_grad():
        cell.eval()(x)
        with FromHost() as mode:
            cell(x)
    assert not mode.names
    with FromHost() as mode:
        x.index_select(0, torch.zeros(1, dtype=torch.int64))
    assert mode.names, 'the mode notices such a copy'
