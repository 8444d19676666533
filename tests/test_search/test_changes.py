import threading

import numpy as np
import pytest
from mmengine.dataset import BaseDataset, RepeatDataset
from torch.utils.data import ConcatDataset, Dataset

from mmhoga.search.halves import halves
from mmhoga.search.resume.changes import LARGE, Fingerprint, Follower


class Listed(BaseDataset):
    def __init__(self, size=8, **kwargs):
        self.size = size
        super().__init__(**kwargs)

    def load_data_list(self):
        return [{'number': index} for index in range(self.size)]


class Flip:
    def __init__(self, prob=0.5, **kept):
        self.prob, self.kept = prob, kept

    def __call__(self, data):
        return data


def set_prob(dataset):
    dataset.pipeline.transforms[0].prob = 0.1


def replace_pipeline(dataset):
    dataset.pipeline = type(dataset.pipeline)([Flip(0.1)])


def replace_annotations(dataset):
    dataset.data_bytes = dataset.data_bytes.copy()


@pytest.mark.parametrize('change', [set_prob, replace_pipeline, replace_annotations])
def test_a_change_shows(change):
    dataset = Listed(LARGE, pipeline=[Flip(lock=threading.Lock(), function=lambda x: x, kind=int, module=np)])
    assert dataset.data_bytes.size > LARGE
    before = Fingerprint(dataset)
    assert before == Fingerprint(dataset)
    dataset[0]
    assert before == Fingerprint(dataset)
    change(dataset)
    assert before != Fingerprint(dataset)


def test_the_cost_does_not_grow_with_the_samples():
    """Large arrays and lists are not read."""
    dataset = Listed(10 * LARGE, pipeline=[], serialize_data=False)
    dataset.data_list[-1] = None  # would differ
    before = Fingerprint(dataset)
    dataset.data_list[-1] = 5
    assert before == Fingerprint(dataset)


def test_what_cannot_be_summarised_counts_as_changed():
    class Odd:
        def __reduce_ex__(self, protocol):
            return 'no_such_name'

    assert Fingerprint(Odd()) != Fingerprint(Odd())


class TestFollower:
    def test_a_pipeline_switch_reaches_the_other_half(self):
        for whole in (Listed(pipeline=[]), RepeatDataset(Listed(pipeline=[]), 2)):
            a, b = halves(whole)
            follower, inner = Follower(a, b), (a, b) if whole.__class__ is Listed else (a.dataset, b.dataset)
            kept = b[0]
            follower.update()
            assert b[0] == kept
            replace_pipeline(inner[0])
            follower.update()
            assert inner[1].pipeline.transforms[0].prob == 0.1
            assert inner[1].pipeline is not inner[0].pipeline, 'each half keeps its own images, as in Mosaic'
            assert b[0] == kept, 'the samples stay'

    def test_attributes_by_name(self):
        """As ``update_skip_type_keys`` of mmdet's MultiImageMixDataset sets them."""
        a, b = halves(ConcatDataset([Listed(pipeline=[]), Listed(pipeline=[])]))
        follower = Follower(a, b)
        a.datasets[1]._skip_type_keys = ['Mosaic']
        follower.update()
        assert b.datasets[1]._skip_type_keys == ['Mosaic'] and not hasattr(b.datasets[0], '_skip_type_keys')

    def test_indices_stay(self):
        class Plain(Dataset):
            def __len__(self):
                return 8

            def __getitem__(self, index):
                return index

        a, b = halves(Plain())
        follower, held = Follower(a, b), list(b)
        a.indices = a.indices[:2]
        follower.update()
        assert list(b) == held
