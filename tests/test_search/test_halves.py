"""trainA and trainB: disjoint, complete, stratified, and the same in every process."""

import random
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.datasets import ConcatDataset as DetConcatDataset
from mmdet.datasets import MultiImageMixDataset
from mmengine.dataset import BaseDataset, ClassBalancedDataset, ConcatDataset, DefaultSampler, RepeatDataset
from torch.utils.data import ConcatDataset as TorchConcatDataset
from torch.utils.data import DataLoader, Dataset, RandomSampler, Subset

from mmhoga.search.halves import _choose, halves
from mmhoga.search.resume.state import BatchStream


class Numbered(BaseDataset):
    """Samples ``number`` with a ``gt_label``, or without one (None); ``skip`` filters every n-th."""

    METAINFO = {'classes': tuple('abcdefgh')}

    def __init__(self, labels, start=0, skip=None, **kwargs):
        self.labels, self.start = labels, start
        super().__init__(pipeline=[], filter_cfg=dict(skip=skip), **{'serialize_data': False, **kwargs})

    def load_data_list(self):
        infos = [{'number': self.start + i, 'gt_label': label} for i, label in enumerate(self.labels)]
        return [{key: value for key, value in info.items() if value is not None} for info in infos]

    def filter_data(self):
        return [
            info for i, info in enumerate(self.data_list) if not self.filter_cfg['skip'] or i % self.filter_cfg['skip']
        ]

    def get_cat_ids(self, index):
        return [self.get_data_info(index)['gt_label']]


class Plain(Dataset):
    """A data set that is not mmengine's; its labels, if any, are in ``targets``, as in torchvision."""

    def __init__(self, labels):
        self.length = len(labels)
        if labels[0] is not None:
            self.targets = labels

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return {'number': index}


def numbers(dataset):
    return [dataset[index]['number'] for index in range(len(dataset))]


def counts(part, labels):
    return Counter(labels[number] for number in numbers(part))


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 7), min_size=4, max_size=60),
    labelled=st.booleans(),
    kind=st.sampled_from([Numbered, Plain]),
    skip=st.sampled_from([None, 2, 3]),
    serialized=st.sampled_from([False] * 5 + [True]),  # mmengine's serialization calls the garbage collector
    fraction=st.floats(0.01, 0.99),
    seed=st.integers(0, 2**32 - 1),
    sampler=st.sampled_from([DefaultSampler, RandomSampler]),
    run_seed=st.integers(0, 99),
)
def test_halves_are_disjoint_and_cover_what_they_say(
    labels, labelled, kind, skip, serialized, fraction, seed, sampler, run_seed
):
    """Of any data, fraction, seed, filter and sampler: in the data sets, and in the batches of an epoch."""
    labels = labels if labelled else [None] * len(labels)
    kwargs = dict(skip=skip, serialize_data=serialized) if kind is Numbered else {}
    whole = kind(labels, **kwargs)
    classes = counts(whole, labels)
    parts = halves(whole, fraction=fraction, seed=seed)
    held = [numbers(part) for part in parts]
    assert sorted(held[0] + held[1]) == sorted(numbers(whole)), 'each sample is in exactly one half'
    for label, n in classes.items():
        in_a = counts(parts[0], labels)[label]
        assert n == 1 or 0 < in_a < n, 'a class with 2 samples is in both halves'
        assert abs(in_a - n * fraction) < 1 or in_a in (1, n - 1)
    random.seed(run_seed)
    np.random.seed(run_seed)  # noqa: NPY002
    torch.default_generator.manual_seed(run_seed)
    for part, expected in zip(halves(kind(labels, **kwargs), fraction=fraction, seed=seed), held):
        loader = DataLoader(part, 4, sampler=sampler(part), collate_fn=lambda items: [item['number'] for item in items])
        batches = list(BatchStream(loader, 'trainA', seed=run_seed, epochs=1).start())
        assert sorted(chain.from_iterable(batches)) == sorted(expected), 'an epoch is this half'


def test_the_rounding_has_no_bias():
    """Over the seeds each class gets ``n * fraction`` samples on average, and each sample has the same chance."""
    strata = np.array([0] * 3 + [1] * 5 + [2] * 1 + [3] * 8)
    chosen = np.stack([_choose(strata, 0.3, np.random.RandomState(seed)) for seed in range(1500)])
    means = [chosen[:, strata == stratum].sum(1).mean() for stratum in range(4)]
    expected = [1.0, 1.5, 0.3, 2.4]  # 0.9 of the first, but never 0
    assert means == pytest.approx(expected, abs=0.06)
    assert chosen.mean(0) == pytest.approx(np.array(expected)[strata] / np.bincount(strata)[strata], abs=0.06)
    sizes = [int(_choose(np.zeros(7, dtype=int), 0.5, np.random.RandomState(seed)).sum()) for seed in range(1500)]
    assert set(sizes) == {3, 4} and np.mean(sizes) == pytest.approx(3.5, abs=0.06)


def test_the_halves_are_the_same_on_every_machine():
    """Recorded: a change would end the resumption of all searches."""
    assert numbers(halves(Numbered([0, 1] * 5), seed=1)[0]) == [0, 1, 5, 6, 9]
    assert numbers(halves(Plain([None] * 10), seed=1)[0]) == [3, 4, 5, 7, 9]


def test_without_stratification():
    labels = [0, 1] * 20
    whole = Numbered(labels)
    sizes = {counts(halves(whole, seed=seed, stratified=False)[0], labels)[0] for seed in range(50)}
    assert len(sizes) > 3
    assert {counts(halves(whole, seed=seed)[0], labels)[0] for seed in range(50)} == {10}


class TestWrappers:
    def test_concatenated(self):
        """Each class is split over all data sets together, and the order inside stays."""
        for kind in (ConcatDataset, DetConcatDataset, TorchConcatDataset):
            whole = kind([Numbered([0, 1, 2]), Numbered([0, 1, 2], start=3)])
            a, b = halves(whole)
            assert type(a) is kind and sorted(numbers(a) + numbers(b)) == list(range(6))
            assert sorted(number % 3 for number in numbers(a)) == [0, 1, 2]
            assert numbers(whole) == list(range(6)), 'the data set itself is unchanged'
        assert DetConcatDataset([Numbered([0])])._metainfo['cumulative_sizes']
        a, b = halves(DetConcatDataset([Numbered([0] * 4), Numbered([0] * 4, start=4)]))
        assert a._metainfo['cumulative_sizes'] == a.cumulative_sizes != [4, 8]

    def test_a_data_set_that_is_concatenated_twice(self):
        """Its samples are known by their content, so no sample gets into both halves."""
        for twice in (
            ConcatDataset([Numbered([0, 1] * 6), Numbered([0, 1] * 6)]),
            ConcatDataset([Numbered([0, 1] * 6), Numbered([0, 1] * 6, skip=3)]),
            TorchConcatDataset([plain := Plain([None] * 12), plain]),
            TorchConcatDataset([plain, Subset(plain, [1, 1, 5, 7])]),
            TorchConcatDataset([Subset(plain, [1, 1, 5, 7]), Subset(plain, range(8))]),
        ):
            a, b = halves(twice)
            assert not set(numbers(a)) & set(numbers(b))
            assert Counter(numbers(a) + numbers(b)) == Counter(numbers(twice))

    def test_equal_samples_of_one_data_set_are_two_samples(self):
        same = Numbered([0] * 10)
        same.load_data_list = lambda: [{'number': 1, 'gt_label': 0}] * 10
        same._fully_initialized = False
        same.full_init()
        assert [len(part) for part in halves(ConcatDataset([same]))] == [5, 5]
        assert [len(part) for part in halves(ConcatDataset([same, same]))] == [10, 10]

    def test_repeated(self):
        a, b = halves(RepeatDataset(Numbered([0, 1] * 4), times=3))
        assert len(a) == len(b) == 12 and not set(numbers(a)) & set(numbers(b))
        assert set(Counter(numbers(a)).values()) == {3}

    def test_balanced(self):
        """The rare class is repeated within each half."""
        a, b = halves(ClassBalancedDataset(Numbered([0] * 30 + [1] * 2), oversample_thr=0.5))
        for part in (a, b):
            assert sorted(Counter(numbers(part)).values()) == [1] * 15 + [3]
        assert not set(numbers(a)) & set(numbers(b))

    def test_mixed_images(self):
        """mmdet's Mosaic draws its other images from its own half, and keeps them there."""

        class Mix:
            def __init__(self):
                self.drawn = []

            def get_indexes(self, dataset):
                return [random.randrange(len(dataset)) for _ in range(3)]

            def __call__(self, results):
                self.drawn += [each['number'] for each in results.get('mix_results', ())]
                return results

        whole = MultiImageMixDataset(Numbered([None] * 12), pipeline=[])
        whole.pipeline, whole.pipeline_types = [Mix()], ['Mix']
        parts = halves(whole)
        held = [set(numbers(part)) for part in parts]
        assert [len(part) for part in parts] == [6, 6] and not held[0] & held[1]
        assert parts[0].pipeline[0] is not parts[1].pipeline[0]

    def test_nested_without_a_sample_in_one_half(self):
        whole = TorchConcatDataset([ConcatDataset([Numbered([0])]), Numbered([0] * 9, start=1)])
        a, b = halves(whole)
        assert sorted(numbers(a) + numbers(b)) == list(range(10))
        assert sorted([len(a.datasets), len(b.datasets)]) == [1, 2]

    def test_unknown_ones_are_refused(self):
        class Pairs(Dataset):
            def __init__(self):
                self.dataset = Numbered([0, 1])

        with pytest.raises(TypeError, match=r'cannot halve a Pairs.*mmhoga.RandomSplit around each'):
            halves(Pairs())


def test_a_data_set_whose_samples_are_not_its_list():
    class Twice(Numbered):
        def __len__(self):
            return 2 * super().__len__()

    with pytest.raises(TypeError, match='Twice has 8 samples and 4 annotations'):
        halves(Twice([0, 1, 0, 1]))


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(fraction=0), 'between 0 and 1, not 0'),
        (dict(fraction=1.0), 'between 0 and 1'),
        (dict(fraction='half'), "not 'half'"),
        (dict(seed=-1), 'seed of a split must be an integer'),
        (dict(seed=1.5), 'seed of a split must be an integer'),
        (dict(dataset=Numbered([0])), 'at least 2'),
    ],
)
def test_bad_splits(changes, message):
    with pytest.raises(ValueError, match=message):
        halves(**{'dataset': Numbered([0, 1]), **changes})
