import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmhoga.look.selectivity import ClassMeans, selectivity_index


def data(seed=0, count=97, classes=4, channels=6):
    generator = torch.Generator().manual_seed(seed)
    activity = torch.rand(count, channels, generator=generator)
    activity[:, 0] = 0  # never fires
    activity[:, 1] = 3  # the same for every class
    labels = torch.arange(count) % classes
    activity[:, 2] = (labels == 1).float() * 0.7  # fires for one class only
    activity[:, 3] = torch.tensor([4.0, 1, 0, 2])[labels]  # (4 - 1) / (4 + 1)
    return activity, labels


def of(parts):
    total = ClassMeans(4)
    for activity, labels in parts:
        total.update(activity, labels)
    return total


def test_closed_form():
    index = of([data()]).selectivity()
    torch.testing.assert_close(index[:4], torch.tensor([0, 0, 1, 0.6], dtype=torch.float64))
    assert ((index >= 0) & (index <= 1)).all()


def test_the_number_of_images_per_class_does_not_matter():
    """Class means 1 and 3 from one and three images give (3 - 1) / (3 + 1)."""
    means = ClassMeans(2)
    means.update(torch.tensor([[1.0], [2], [3], [4]]), [0, 1, 1, 1])
    assert means.selectivity().tolist() == [0.5]


@pytest.mark.parametrize('size', [1, 7, 97])
def test_the_batch_size_changes_nothing(size):
    activity, labels = data()
    batched = of(zip(activity.split(size), labels.split(size)))
    torch.testing.assert_close(batched.selectivity(), of([data()]).selectivity(), rtol=1e-13, atol=0)
    assert batched.sums.shape == (4, 6)  # nothing else is kept


@pytest.mark.parametrize('processes', [2, 3, 120])
def test_processes_add_up_their_sums(processes, monkeypatch):
    """With more processes than images, some have none."""
    activity, labels = data()
    parts = [of([(activity[rank::processes], labels[rank::processes])]) for rank in range(processes)]
    total = ClassMeans(4)  # of a process without images

    def all_reduce(tensor, op='sum'):
        if op == 'max':
            tensor.fill_(activity.size(1))
        else:
            tensor += sum(part.sums if tensor.dim() == 2 else part.counts for part in parts)

    monkeypatch.setattr('mmhoga.look.selectivity.all_reduce', all_reduce)
    total.reduce_over_processes()
    torch.testing.assert_close(total.selectivity(), of([data()]).selectivity(), rtol=1e-13, atol=0)
    assert total.counts.tolist() == of([data()]).counts.tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.floats(0, 1e6), min_size=3, max_size=3), min_size=2, max_size=5))
def test_always_between_0_and_1(rows):
    index = selectivity_index(torch.tensor(rows, dtype=torch.float64))
    assert torch.isfinite(index).all() and (index >= 0).all() and (index <= 1).all()


def test_bad_input():
    means = ClassMeans(3)
    with pytest.raises(ValueError, match='at least two classes'):
        means.selectivity()
    means.update(torch.ones(2, 4), [0, 2])
    with pytest.raises(ValueError, match=r'No image of class 1\.'):
        means.selectivity()
    assert means.empty_classes == [1]
    assert means.selectivity(skip_empty=True).tolist() == [0] * 4
    for activity, labels, message in [
        (torch.ones(2, 5), [0, 1], r'expected \(2, 4\)'),
        (torch.ones(2, 4), [0], r'expected \(1, 4\)'),
        (torch.ones(1, 4), [3], r'not all in 0 \.\. 2'),
        (torch.ones(1, 4), [-1], r'not all in 0 \.\. 2'),
        (-torch.ones(1, 4), [0], 'non-negative'),
        (torch.full((1, 4), float('nan')), [0], 'finite'),
    ]:
        with pytest.raises(ValueError, match=message):
            means.update(activity, labels)
    assert means.counts.tolist() == [1, 0, 1]
