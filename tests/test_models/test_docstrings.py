"""The examples in the docstrings of the public names run."""

import doctest

import pytest

import mmhoga.genotype
from mmhoga.genotype import Genotype
from mmhoga.models import HOGA, OPERATIONS, Attention, AttentionOperation, SearchableHOGA, register_primitive

PUBLIC = (HOGA, SearchableHOGA, Attention, Genotype, AttentionOperation, register_primitive)


@pytest.mark.parametrize('item', PUBLIC, ids=lambda item: item.__name__)
def test_examples_run(item, monkeypatch):
    if item is Attention:
        pytest.importorskip('timm')
    monkeypatch.setattr(mmhoga.genotype, '_OWN', {})  # an example registers a primitive
    before = dict(OPERATIONS)
    (test,) = doctest.DocTestFinder(recurse=False).find(item, item.__name__, globs={})
    assert test.examples, f'{item.__name__} has no example'
    result = doctest.DocTestRunner(optionflags=doctest.REPORT_ONLY_FIRST_FAILURE).run(test)
    OPERATIONS.clear()
    OPERATIONS.update(before)
    assert result.failed == 0
