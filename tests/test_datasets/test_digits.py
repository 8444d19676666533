import numpy as np
import pytest

from mmhoga.datasets import Digits, RandomSplit
from mmhoga.registry import DATASETS


def fingerprints(dataset) -> set:
    return {dataset[i]['img'].tobytes() for i in range(len(dataset))}


def test_digits_are_real_images_split_by_class():
    train, test = Digits('train'), Digits('test')
    assert (len(train), len(test)) == (1438, 359)
    sample = train[0]
    assert sample['img'].shape == (8, 8, 1) and sample['img'].dtype == np.uint8
    assert max(train[i]['img'].max() for i in range(50)) == 255
    counts = np.bincount([test.get_data_info(i)['gt_label'] for i in range(len(test))])
    assert counts.min() >= 34 and len(counts) == 10
    assert len(fingerprints(train) & fingerprints(test)) <= 1, 'no image may be in both'


def test_unknown_split():
    with pytest.raises(ValueError, match="not 'val'"):
        Digits('val')


@pytest.mark.parametrize('fraction', [0.5, 0.3])
def test_parts_are_disjoint_and_cover_the_data(fraction):
    cfg = dict(type='mmhoga.Digits', split='test')
    parts = [
        DATASETS.build(dict(type='mmhoga.RandomSplit', part=part, fraction=fraction, dataset=dict(cfg)))
        for part in 'AB'
    ]
    assert [len(part) for part in parts] == [round(359 * fraction), 359 - round(359 * fraction)]
    indices = [{part.get_data_info(i)['img'].tobytes() for i in range(len(part))} for part in parts]
    assert not indices[0] & indices[1]
    assert indices[0] | indices[1] == fingerprints(Digits('test'))
    assert all(isinstance(part, Digits) for part in parts)


def test_the_split_depends_on_its_seed_alone():
    def labels(seed):
        part = RandomSplit(dict(type='mmhoga.Digits'), 'A', seed=seed)
        return [part.get_data_info(i)['gt_label'] for i in range(100)]

    assert labels(0) == labels(0) != labels(1)


def test_the_split_is_random_not_the_first_half():
    part, whole = RandomSplit(dict(type='mmhoga.Digits'), 'A'), Digits()
    assert any(not np.array_equal(part[i]['img'], whole[i]['img']) for i in range(20))


@pytest.mark.parametrize(
    ('kwargs', 'error', 'message'),
    [
        (dict(part='C'), ValueError, "must be 'A' or 'B', not 'C'"),
        (dict(part='A', fraction=1.0), ValueError, 'between 0 and 1'),
        (dict(part='A', fraction=1e-6), ValueError, 'has no sample'),
        (dict(part='A', dataset=[1, 2]), TypeError, 'not list'),
    ],
)
def test_bad_splits(kwargs, error, message):
    with pytest.raises(error, match=message):
        RandomSplit(**{'dataset': dict(type='mmhoga.Digits'), **kwargs})
