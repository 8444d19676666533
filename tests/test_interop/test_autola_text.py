"""The authors' genotypes.py as text: read, never run."""

import pytest

from mmhoga.genotype import BUILTIN
from mmhoga.interop.autola import RELEASED_NORMAL
from mmhoga.interop.autola_text import read_genotypes

RELEASED = repr(list(RELEASED_NORMAL))
FILE = f"""
from collections import namedtuple

Genotype = namedtuple('Genotype', 'normal normal_concat')
PRIMITIVES = ['none', 'skip_connect']

AutoLA = Genotype(normal={RELEASED}, normal_concat=range(1, 5))
First: object = Genotype({RELEASED}, range(1, 5))
"""


def test_every_genotype_of_a_file_by_its_name():
    assert read_genotypes(FILE) == {'AutoLA': BUILTIN['autola_release'], 'First': BUILTIN['autola_release']}


@pytest.mark.parametrize(
    'text', [f'Genotype(normal={RELEASED}, normal_concat=range(1, 5))', RELEASED, f' {RELEASED}\n']
)
def test_a_line_of_their_log(text):
    assert read_genotypes(text) == {'genotype': BUILTIN['autola_release']}


def test_nothing_is_executed(tmp_path):
    trap = tmp_path / 'trap'
    with pytest.raises(ValueError, match='Line 2'):
        read_genotypes(f"import os\nX = Genotype(normal=[(open({str(trap)!r}, 'w').name, 0)])")
    assert not trap.exists()


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('X = [', 'no Python text'),
        ('X = 3', 'There is no genotype in this text'),
        ("X = Genotype(normal=[('conv', 0)])", "Line 1: Unknown operation 'conv'"),
        ("\nX = Genotype(normal=[('SE', 0), ('SE', 0)])", 'Line 1: 2 pairs: expected K'),
        ('X = Genotype(normal=[3])', 'found 3'),
        ("X = Genotype(normal='SE')", "found 'SE'"),
    ],
)
def test_bad_text(text, message):
    with pytest.raises(ValueError, match=message):
        read_genotypes(text)
