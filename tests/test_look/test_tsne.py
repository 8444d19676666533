import numpy as np
import pytest
from sklearn.datasets import load_digits

from mmhoga.look.tsne import embed, neighbour_score


@pytest.fixture(scope='module')
def digits():
    images, labels = load_digits(return_X_y=True)
    return images[:500], labels[:500]


@pytest.fixture(scope='module')
def points(digits):
    return embed(digits[0], seed=3)


def test_separates_digits(digits, points):
    """Of the raw images 97 % have a nearest neighbour of their class; chance is 10 %."""
    score = neighbour_score(points, digits[1])
    assert points.shape == (500, 2)
    assert score > 0.93
    shuffled = np.random.default_rng(0).permutation(digits[1])
    assert neighbour_score(points, shuffled) < 0.2


def test_reproducible_by_seed(digits, points):
    np.random.seed(12345)  # noqa: NPY002 (the global generator must not matter)
    assert np.array_equal(embed(digits[0], seed=3), points)


def test_neighbour_score_by_hand():
    points = np.array([[0.0, 0], [1, 0], [1, 0], [9, 9], [9, 8]])
    # The nearest of 0 is 1 or 2; 1 and 2, and 3 and 4, are nearest to each other.
    assert neighbour_score(points, np.array([0, 0, 0, 1, 1])) == 1
    assert neighbour_score(points, np.array([1, 0, 0, 1, 2])) == pytest.approx(2 / 5)


def test_bad_input():
    with pytest.raises(ValueError, match='below the number of images, 20'):
        embed(np.zeros((20, 3)), perplexity=30)
    with pytest.raises(ValueError, match='not all finite'):
        embed(np.full((50, 3), np.nan))
    with pytest.raises(ValueError, match='at least 2 points'):
        neighbour_score(np.zeros((1, 2)), np.zeros(1))
