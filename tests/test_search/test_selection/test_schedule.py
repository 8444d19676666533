"""Warm-up, temperature and sampling: closed forms, and searches that resume exactly with them."""

import copy
import json
from pathlib import Path

import pytest
import torch
from mmengine.runner import Runner
from torch.func import functional_call

from mmhoga.models import SearchableHOGA
from mmhoga.models.mixing import Mixing
from mmhoga.search import SearchLoop, SearchModel
from mmhoga.search.bilevel import second_order
from mmhoga.search.selection.schedule import MixSchedule

GDAS = dict(start=10, end=0.1, schedule='linear')
runs = iter(range(10**6))


def run(config, **changes):
    config = copy.deepcopy(config)
    config.merge_from_dict({'experiment_name': f'schedule{next(runs)}', **changes})
    runner = Runner.from_cfg(config)
    runner.train()
    return runner


def test_temperatures_of_the_schedules():
    linear = MixSchedule(5, temperature=dict(start=10, end=0.1))
    assert [linear.temperature(epoch) for epoch in range(5)] == pytest.approx([10, 7.525, 5.05, 2.575, 0.1])
    exponential = MixSchedule(5, temperature=dict(start=16, end=1, schedule='exponential'))
    assert [exponential.temperature(epoch) for epoch in range(5)] == pytest.approx([16, 8, 4, 2, 1])
    assert [MixSchedule(3, temperature=0.5).temperature(epoch) for epoch in range(3)] == [0.5] * 3
    assert MixSchedule(1, temperature=GDAS).temperature(0) == 10


def test_the_mix_is_the_softmax_of_alpha_over_t():
    mixing = Mixing()
    mixing.temperature.fill_(0.5)
    # exp(2 log 1), exp(2 log 2), exp(2 log 3)
    mix = mixing(torch.tensor([[1.0, 2.0, 3.0]]).log(), True)
    torch.testing.assert_close(mix, torch.tensor([[1.0, 4.0, 9.0]]) / 14)


def test_at_temperature_1_the_mix_is_the_papers_to_the_last_bit():
    alpha = torch.randn(10, 9)
    assert torch.equal(Mixing()(alpha, True), alpha.softmax(-1))


def test_a_sample_is_one_hot_with_the_gradient_of_its_softmax():
    torch.manual_seed(0)
    alpha = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    mixing = Mixing().double()
    mixing.enable_sampling(alpha)
    mixing.temperature.fill_(0.7)
    mixing.draw()
    mix = mixing(alpha, True)
    assert mix.sum(-1).eq(1).all() and mix.eq(0).sum() == 24
    assert torch.equal(mix.argmax(-1), (alpha + mixing.noise).argmax(-1))
    probe = torch.randn_like(mix)
    (gradient,) = torch.autograd.grad((mix * probe).sum(), alpha)
    s = ((alpha + mixing.noise) / 0.7).softmax(-1).detach()
    # ds_i/dalpha_j = s_i (delta_ij - s_j) / T
    expected = s * (probe - (s * probe).sum(-1, keepdim=True)) / 0.7
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_operations_are_drawn_with_the_probabilities_of_the_softmax():
    torch.manual_seed(0)
    p = torch.tensor([0.5, 0.3, 0.15, 0.05])
    alpha = p.log().expand(20000, 4)
    mixing = Mixing()
    mixing.enable_sampling(alpha)
    mixing.temperature.fill_(3.0)  # no effect on what is drawn
    mixing.draw()
    # The standard deviation of a share is at most 0.5 / sqrt(20000) = 0.0035.
    torch.testing.assert_close(mixing(alpha, True).mean(0), p, atol=0.015, rtol=0)


def test_evaluation_has_no_noise():
    alpha = torch.randn(6, 5)
    mixing = Mixing()
    mixing.enable_sampling(alpha)
    mixing.draw()
    assert torch.equal(mixing(alpha, False), torch.nn.functional.one_hot(alpha.argmax(-1), 5).float())


def test_one_sample_per_pass_is_shared_by_the_cells(toy):
    model = SearchModel(toy())
    MixSchedule(1, sampling='gumbel').prepare(model)
    first, second = model.cells()
    assert first.mixing is second.mixing
    x, noise = torch.rand(2, 1, 8, 8), []
    for _ in range(2):
        model(x)
        assert torch.equal(*(torch.cat(tuple(cell.edge_weights())) for cell in (first, second)))
        noise.append(first.mixing.noise.clone())
    assert not torch.equal(*noise)
    model.eval()(x)
    assert torch.equal(first.mixing.noise, noise[1]), 'evaluation draws nothing'


def test_stages_draw_their_own_samples(toy):
    model = SearchModel(toy(), alpha_per='stage', stage_pattern=r'cells\.\d')
    MixSchedule(1, sampling='gumbel').prepare(model)
    model(torch.rand(2, 1, 8, 8))
    assert not torch.equal(*(mixing.noise for mixing in model.mixings))


def test_state_dicts_do_not_change(toy):
    model = SearchModel(toy())
    before = list(model.state_dict())
    MixSchedule(1, sampling='gumbel', temperature=2.0).prepare(model)
    assert list(model.state_dict()) == before and not any('mixing' in name for name in before)


@pytest.mark.parametrize('sampling', ['softmax', 'gumbel'])
def test_compiled_cells_read_the_temperature_and_the_noise(sampling):
    torch.manual_seed(0)
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    plain = SearchableHOGA(4, num_groups=2)
    if sampling == 'gumbel':
        plain.mixing.enable_sampling(plain.alpha)
    compiled = copy.deepcopy(plain)
    compiled.compile(backend=backend)
    plain.alpha.data.mul_(1e3), compiled.alpha.data.mul_(1e3)
    x = torch.randn(2, 4, 6, 6)
    for temperature in (1.0, 0.3, 5.0):
        outputs = []
        for cell in (plain, compiled):
            torch.manual_seed(int(10 * temperature))
            cell.mixing.temperature.fill_(temperature)
            cell.mixing.draw()
            (gradient,) = torch.autograd.grad(cell(x).square().sum(), cell.alpha)
            outputs.append(gradient)
        torch.testing.assert_close(*outputs)
    assert len(graphs) == 1


def test_warm_up_leaves_alpha_alone_and_reads_no_batch_of_trainb(search_config, monkeypatch):
    calls = []
    alpha_step = SearchLoop.alpha_step

    def spy(self, data, train_data):
        calls.append((self._epoch, data['inputs'].sum().item()))
        return alpha_step(self, data, train_data)

    monkeypatch.setattr(SearchLoop, 'alpha_step', spy)
    search_config.train_cfg.max_epochs = 3
    whole = run(search_config, **{'train_cfg.warmup_epochs': 2})
    assert [epoch for epoch, _ in calls] == [2, 2, 2]
    warm = calls[:]
    calls.clear()
    search_config.work_dir += '_other'
    other = run(search_config)
    assert calls[6:] == warm, 'the batches of trainB depend only on their epoch'
    assert not torch.equal(whole.model.alpha, other.model.alpha)


def test_alpha_accumulates_from_the_end_of_the_warm_up(search_config):
    search_config.optim_wrapper.alpha.accumulative_counts = 2
    runner = run(search_config, **{'train_cfg.warmup_epochs': 1})
    state = runner.optim_wrapper['alpha'].optimizer.state[runner.model.alpha]
    assert int(state['step']) == 2, 'three iterations make one step of two, and one of the last'


@pytest.mark.parametrize('iteration', [1, 3, 4, 6])  # in the warm-up, at its end, after it, at the end of an epoch
def test_a_resumed_search_ends_like_an_uninterrupted_one(search_config, monkeypatch, iteration):
    settings = dict(sampling='gumbel', temperature=GDAS, warmup_epochs=1, max_epochs=3)
    search_config.train_cfg.update(settings)
    search_config.optim_wrapper.alpha.accumulative_counts = 2
    whole = run(search_config, work_dir=search_config.work_dir + '1')
    run_iter = SearchLoop.run_iter

    def run_and_stop(self, *args):
        self.stop_request.received = self._iter + 1 == iteration
        run_iter(self, *args)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(SearchLoop, 'run_iter', run_and_stop)
        run(search_config)
    resumed = run(search_config, resume=True)
    state = resumed.model.state_dict()
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert resumed.model.mixings[0].temperature.item() == pytest.approx(0.1)


def test_a_repeated_validation_has_the_temperature_of_its_epoch(search_config, monkeypatch):
    search_config.train_cfg.temperature = dict(start=10, end=1)
    seen = []
    monkeypatch.setattr(
        SearchLoop, '_validate', lambda self: seen.append(self.runner.model.mixings[0].temperature.item())
    )
    run(search_config)
    run(search_config, resume=True)
    assert seen == [10, 1, 1]


def test_records_have_the_temperature_and_the_entropy_of_alpha_itself(search_config):
    search_config.train_cfg.temperature = dict(start=10, end=1)
    first, last = json.loads(Path(run(search_config).work_dir, 'search_history.json').read_text())['epochs']
    assert first['temperature'] == 10 and 'temperature' not in last
    p = torch.tensor(first['alpha']).softmax(-1)
    torch.testing.assert_close(torch.tensor(first['entropy']), -(p * p.log()).sum(-1))


class FixedMix(torch.nn.Module):
    def __init__(self, mix):
        super().__init__()
        self.mix = mix

    def forward(self, alpha, training):
        return self.mix


@pytest.mark.parametrize(('hessian', 'tolerance'), [('exact', 1e-9), ('finite_difference', 1e-3)])
def test_the_second_order_with_samples(toy, hessian, tolerance):
    """Against the unrolled loss as a function of the two sampled mixes, times the Jacobians of their softmaxes."""
    torch.manual_seed(0)
    model = SearchModel(toy()).double().eval()  # fixed batch norms
    MixSchedule(1, sampling='gumbel').prepare(model)
    mixing, cells = model.mixings[0], model.cells()
    mixing.temperature.fill_(2.0)
    for cell in cells:
        cell.training = True  # only the mix reads it
    batches = [{'inputs': torch.rand(4, 1, 8, 8).double(), 'gt_label': torch.randint(10, (4,))} for _ in range(2)]
    weights = {name: p for name, p in model.architecture.named_parameters() if p.requires_grad}
    optimizer, noises = torch.optim.SGD(weights.values(), lr=0.1), []

    def loss(batch):
        mixing.draw()
        noises.append(mixing.noise.clone())
        return model.architecture(**batch, mode='loss')['loss']

    with model.differentiating_alpha() as alphas:
        _, (actual,) = second_order(
            lambda: loss(batches[0]), lambda: loss(batches[1]), alphas, optimizer, hessian=hessian, radius=1e-4
        )
    noise_a, noise_b, *others = noises
    assert all(torch.equal(noise, noise_a) for noise in others), 'all passes over trainA have one sample'
    assert not torch.equal(noise_a, noise_b)

    def loss_at(mix, batch, parameters):
        for cell in cells:
            cell.mixing = FixedMix(mix)
        return functional_call(model.architecture, parameters, (), {**batch, 'mode': 'loss'})['loss']

    logits = [(model.alpha + noise).detach() for noise in (noise_a, noise_b)]
    mixes = [torch.nn.functional.one_hot(x.argmax(-1), x.size(-1)).double().requires_grad_() for x in logits]
    slopes = torch.autograd.grad(
        loss_at(mixes[0], batches[0], weights), list(weights.values()), create_graph=True, allow_unused=True
    )
    moved = {name: w if slope is None else w - 0.1 * slope for (name, w), slope in zip(weights.items(), slopes)}
    by_mix = torch.autograd.grad(loss_at(mixes[1], batches[1], moved), mixes)
    expected = 0
    for x, gradient in zip(logits, by_mix):
        s = (x / 2.0).softmax(-1)
        expected = expected + s * (gradient - (s * gradient).sum(-1, keepdim=True)) / 2.0
    assert by_mix[0].abs().max() > 1e-6, 'the second-order part counts'
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * expected.abs().max().item())


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        (dict(warmup_epochs=3), 'from 0 to max_epochs - 1 = 2, not 3'),
        (dict(warmup_epochs=-1), 'not -1'),
        (dict(temperature=0), 'must be a positive number.*not 0'),
        (dict(temperature=dict(start=1)), 'must be a positive number, or dict'),
        (dict(temperature=dict(start=1, end=float('nan'))), 'must be a positive number, or dict'),
        (dict(temperature=dict(start=1, end=2, schedule='cosine')), "schedule must be one of .*not 'cosine'"),
        (dict(sampling='hard'), "sampling must be one of .*not 'hard'"),
    ],
)
def test_invalid_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        MixSchedule(3, **settings)
