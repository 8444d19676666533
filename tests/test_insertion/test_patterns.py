"""Patterns for rows of modules: each matches exactly its modules."""

import itertools
import random
import re

import pytest
import torch
from torch import nn

from mmhoga.insertion import Place, find_places
from mmhoga.insertion.patterns import below, fold


def places(*names, **settings):
    return [Place(name, 'Conv2d', **{'layout': 'NCHW', 'channels': 8, 'size': (4, 4), **settings}) for name in names]


def test_modules_that_differ_in_numbers_share_a_row():
    listed = places('stem', *(f'layer1.{n}.conv2' for n in range(3)), 'layer2.0.conv2', 'layer1.1.conv1')
    assert [(pattern, len(row)) for pattern, row in fold(listed)] == [
        ('stem', 1),
        (r'layer1\.\d+\.conv2', 3),
        (r'layer2\.0\.conv2', 1),
        (r'layer1\.1\.conv1', 1),
    ]


@pytest.mark.parametrize(
    ('wide', 'pattern'),
    [
        (range(1, 12), r'b\.[1-9]\d*\.conv'),
        ((2, 3, 4), r'b\.[2-4]\.conv'),
        ((0, 2), r'b\.[02]\.conv'),
        ((3, 10, 11), r'b\.(?:3|10|11)\.conv'),
    ],
)
def test_another_width_is_another_row(wide, pattern):
    names = [f'b.{n}.conv' for n in range(12)]
    listed = [place for n, name in enumerate(names) for place in places(name, channels=16 if n in wide else 8)]
    rows = {row[0].channels: (found, row) for found, row in fold(listed)}
    assert rows[16][0] == pattern
    assert [place.name for place in rows[16][1]] == [names[n] for n in wide]


def test_every_pattern_matches_exactly_its_row():
    """Also where the modules of a kind form no product of numbers, as in HRNet's fusion layers."""
    draw = random.Random(0)
    names = [
        '.'.join(('stage', *map(str, numbers), 'conv')) for numbers in itertools.product(range(12), range(3), (0, 4))
    ]
    for _ in range(20):
        listed = [place for name in names for place in places(name, channels=draw.choice((8, 16)))]
        found = fold(listed)
        assert sorted(place.name for _, row in found for place in row) == sorted(names)
        for pattern, row in found:
            assert len({place.channels for place in row}) == 1
            assert [name for name in names if re.fullmatch(pattern, name)] == [place.name for place in row]


NAMES = ['backbone.stem', 'backbone.layer1', 'backbone.layer1.0', 'neck.0', 'neck.layer1']


@pytest.mark.parametrize(
    ('pattern', 'shorter'),
    [
        (r'backbone\.layer1\.\d', r'layer1\.\d'),
        ('backbone.layer1', 'layer1'),
        (r'backbone\.stem|backbone\.layer1', 'stem|layer1'),
        (r'(backbone\.)(stem|layer1)', '()(stem|layer1)'),
        (r'.*\.layer1\.0', None),  # nothing is left for the point
        (r'.*stem', '.*stem'),
        (r'.*layer1', None),  # also in the neck
        (r'neck\.0', None),
        (r'b.*stem', None),
    ],
)
def test_a_pattern_for_the_names_below_a_module(pattern, shorter):
    assert below('backbone', pattern, NAMES) == shorter


class FixedSize(nn.Module):
    """Takes images of one size only, wider than high, and goes on with ``(N, H, W, C)``."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 24, 4, stride=4)
        self.norm = nn.LayerNorm(24)
        self.position = nn.Parameter(torch.zeros(1, 16, 24, 24))

    def forward(self, x):
        return self.norm(self.conv(x).permute(0, 2, 3, 1) + self.position)


def test_the_map_for_an_image_of_a_size():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.Conv2d(8, 12, 3, stride=2, padding=1))
    sizes = [(place.layout, place.channels, place.size) for place in find_places(network, image_size=(128, 224))]
    assert sizes == [('NCHW', 8, (64, 112)), ('NCHW', 12, (32, 56))]
    found = find_places(FixedSize(), image_size=(64, 96))
    assert [(place.layout, place.channels, place.size) for place in found] == [
        ('NCHW', 24, (16, 24)),
        ('NHWC', 24, (16, 24)),
    ]
    with pytest.raises(ValueError, match=r'does not run on an image of 3 x 64 x 64\. \('):
        find_places(FixedSize(), image_size=(64, 64))


def test_modules_that_are_not_listed_are_not_matched():
    listed = places(*(f'b.{n}' for n in range(1, 6)))
    assert [pattern for pattern, _ in fold(listed)] == [r'b\.\d+']
    assert [pattern for pattern, _ in fold(listed, ['b.0', 'b.7'])] == [r'b\.[1-5]']
