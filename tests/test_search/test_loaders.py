"""The loaders that a search builds for trainA and trainB, from a config."""

import pickle
from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner

from mmhoga.search.loaders import differences, search_loaders

DIGITS = dict(type='mmhoga.Digits', split='test', indices=48, pipeline=[dict(type='ToyPack')])


@pytest.fixture
def split_config(search_config):
    """The toy search, with one data set that the loop halves."""
    search_config.train_dataloader.dataset = DIGITS
    search_config.train_cfg = dict(type='mmhoga.SearchLoop', max_epochs=2, split=dict(fraction=0.5, seed=0))
    return search_config


def build(config, **changes):
    """Both loaders, and the log."""
    config = config.copy()
    config.merge_from_dict(changes)
    lines = []
    runner = SimpleNamespace(
        cfg=config,
        seed=config.randomness.seed,
        _randomness_cfg={},
        build_dataloader=Runner.build_dataloader,
        logger=SimpleNamespace(info=lines.append),
    )
    settings = config.train_cfg
    loaders = search_loaders(runner, config.train_dataloader, settings.get('alpha_dataloader'), settings.get('split'))
    return *loaders, '\n'.join(lines)


def images(loader):
    return {pickle.dumps(loader.dataset.get_data_info(i)) for i in range(len(loader.dataset))}


def test_the_loop_halves_the_data_set_of_train_dataloader(split_config):
    *loaders, log = build(split_config)
    assert not images(loaders[0]) & images(loaders[1])
    assert len(images(loaders[0])) == len(images(loaders[1])) == 24
    assert all(loader.batch_size == 8 and loader.sampler.shuffle for loader in loaders)
    assert 'trainA: 24 samples, 3 batches per epoch.\ntrainB: 24 samples, 3 batches per epoch.' in log


def test_each_half_is_built_once_and_never_copied(split_config, monkeypatch):
    """A copy would double the memory of a data set that holds its images."""
    from mmhoga.datasets import Digits

    built = []
    load = Digits.load_data_list
    monkeypatch.setattr(Digits, 'load_data_list', lambda self: built.append(self) or load(self))
    monkeypatch.setattr(Digits, '__deepcopy__', lambda self, memo: pytest.fail('copied'), raising=False)
    build(split_config)
    assert len(built) == 1


def test_the_halves_do_not_depend_on_the_runs_seed(split_config):
    first, second = (build(split_config, **{'randomness.seed': seed})[0] for seed in (0, 1))
    assert images(first) == images(second)
    assert images(build(split_config, **{'train_cfg.split.seed': 1})[0]) != images(first)


def test_alpha_dataloader_overrides_single_settings(split_config):
    """Also from the command line, which merges into the config in the same way."""
    split_config.train_dataloader.update(num_workers=1, persistent_workers=True)
    a, b, _ = build(
        split_config,
        **{'train_cfg.alpha_dataloader.batch_size': 4, 'train_cfg.alpha_dataloader.num_workers': 0},
        **{'train_cfg.alpha_dataloader.sampler.shuffle': False},
    )
    assert (a.batch_size, b.batch_size) == (8, 4)
    assert (a.num_workers, b.num_workers) == (1, 0)
    assert a.sampler.shuffle and not b.sampler.shuffle and type(b.sampler) is type(a.sampler)


def test_a_dict_with_a_type_replaces(split_config):
    split_config.train_dataloader.sampler.round_up = False
    a, b, _ = build(split_config, **{'train_cfg.alpha_dataloader.sampler': dict(type='DefaultSampler', shuffle=False)})
    assert not a.sampler.round_up and b.sampler.round_up


@pytest.mark.parametrize(
    ('size', 'batches', 'words'),
    [
        (
            23,
            1,
            'trainB: 24 samples, 1 batches per epoch, 1 of 24 samples left out of each pass (a last batch',
        ),
        (22, 2, 'trainB: 24 samples, 2 batches per epoch.'),
        (1, 24, 'trainB: 24 samples, 24 batches per epoch.'),
    ],
)
def test_no_batch_has_a_single_sample(split_config, size, batches, words):
    _, b, log = build(split_config, **{'train_cfg.alpha_dataloader.batch_size': size})
    assert len(b) == len(list(b)) == batches and words in log


def test_the_log_reports_what_drop_last_leaves_out(split_config):
    *_, log = build(split_config, **{'train_dataloader.batch_size': 7, 'train_dataloader.drop_last': True})
    assert log.count('3 batches per epoch, 3 of 24 samples left out of each pass (drop_last)') == 2


def test_a_batch_sampler_of_a_host(split_config):
    """mmdet's groups images by their shape; the wrapped sampler has the number of samples."""
    split_config.train_dataloader.batch_sampler = dict(type='BatchSampler', drop_last=False)
    from mmengine.registry import DATA_SAMPLERS

    DATA_SAMPLERS.register_module('BatchSampler', module=torch.utils.data.BatchSampler, force=True)
    a, _, log = build(split_config, **{'train_dataloader.batch_size': 23})
    DATA_SAMPLERS.module_dict.pop('BatchSampler')
    assert len(a) == 1 and '1 of 24 samples left out' in log


class TestRefusals:
    @pytest.mark.parametrize(
        ('changes', 'error', 'message'),
        [
            ({'train_cfg.split': None}, ValueError, r'needs a second half.*train_cfg.split=dict\('),
            ({'train_cfg.split.part': 'A'}, TypeError, 'takes fraction, seed and stratified, not part'),
            ({'train_cfg.split.fraction': 2}, ValueError, 'between 0 and 1, not 2'),
            ({'train_cfg.alpha_dataloader.dataset': DIGITS}, ValueError, 'trainB is given twice'),
            (
                {'train_dataloader.dataset': dict(type='mmhoga.RandomSplit', part='A', dataset=DIGITS, _delete_=True)},
                ValueError,
                'of which train_cfg.split would take a half',
            ),
            ({'train_dataloader.batch_size': 64, 'train_dataloader.drop_last': True}, ValueError, 'yields no batch'),
        ],
    )
    def test_of_a_split(self, split_config, changes, error, message):
        with pytest.raises(error, match=message):
            build(split_config, **changes)

    @pytest.mark.parametrize(
        ('changes', 'message'),
        [
            (
                {'fraction': 0.4},
                r'29, and \d+ of them are in both. trainA is part A of 48 samples \(fraction 0.5',
            ),
            ({'seed': 1}, r'24, and \d+ of them are in both. .*\(fraction 0.5, seed 1'),
            ({'part': 'A'}, 'trainA has 24 samples, trainB 24, and 24 of them are in both'),
            ({'dataset.indices': 46}, r'23, and \d+ of them are in both. .* part B of 46 samples'),
            ({'dataset.split': 'train'}, 'no two halves of one data set'),
        ],
    )
    def test_of_parts_that_do_not_complete_each_other(self, search_config, changes, message):
        changes = {f'train_cfg.alpha_dataloader.dataset.{key}': value for key, value in changes.items()}
        with pytest.raises(ValueError, match=message):
            build(search_config, **changes)

    def test_of_data_sets_without_a_split_that_overlap(self, search_config):
        search_config.train_dataloader.dataset = DIGITS
        search_config.train_cfg.alpha_dataloader.dataset = {**DIGITS, 'indices': 24}
        with pytest.raises(ValueError, match='overlap: trainA has 48 samples, trainB 24, and 24 of them are in both'):
            build(search_config)
        search_config.train_cfg.alpha_dataloader.dataset = {**DIGITS, 'indices': -100}
        assert 'trainA and trainB: no sample is in both.' in build(search_config)[2]

    def test_of_a_top_level_alpha_dataloader_that_is_not_read(self, search_config):
        top = search_config.train_cfg.alpha_dataloader.copy()
        search_config.alpha_dataloader = top
        build(search_config)
        with pytest.raises(ValueError, match='batch_size is 4 at the top and 8 in train_cfg'):
            build(search_config, **{'alpha_dataloader.batch_size': 4})


def test_halves_of_randomsplit_still_work(search_config):
    *_, log = build(search_config)
    assert 'trainA and trainB: two parts of one split.' in log


def test_differences():
    old, new = {'a': 1, 'b': {'c': [1, 2], 'd': 0}}, {'a': 1, 'b': {'c': [1, 3], 'e': 5}}
    assert differences(old, new) == [('b.c.1', 2, 3), ('b.d', 0, None), ('b.e', None, 5)]
    assert not differences(old, old)
