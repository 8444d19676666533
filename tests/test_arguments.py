"""A fuzz of the arguments of public classes and functions: each accepts them, or says in one short message why not."""

import math
import random
from pathlib import Path

import pytest

from mmhoga import genotype
from mmhoga.datasets import CocoCrops, Digits, RandomSplit
from mmhoga.datasets.synthetic.coco_files import Recipe
from mmhoga.genotype import Genotype, add_primitive, from_edges, require_num_groups, uniform
from mmhoga.report.runs import read_run
from mmhoga.search.halves import halves
from mmhoga.search.records.history import read_history
from mmhoga.search.records.hook import CollapseWatch
from mmhoga.search.selection.schedule import MixSchedule
from mmhoga.search.selection.select import Selection
from mmhoga.studies.costs import NetworkCost
from mmhoga.studies.space import derivable, sample_genotypes

DATASET = Digits(split='test', indices=12)
# Name -> (the callable, the values of arguments that are not fuzzed, and good ones of those that are).
PUBLIC = {
    'Genotype': (Genotype, {}, dict(edges=[['se']], meta={})),
    'Genotype.from_config': (Genotype.from_config, {}, dict(value='autola')),
    'Genotype.from_dict': (Genotype.from_dict, {}, dict(data={'edges': [['se']]})),
    'Genotype.load': (Genotype.load, {}, dict(path='nowhere.json')),
    'uniform': (uniform, {}, dict(operation='se', num_groups=2)),
    'from_edges': (from_edges, {}, dict(operations=['se', 'cbam', 'se'])),
    'add_primitive': (add_primitive, {}, dict(name='se')),
    'require_num_groups': (require_num_groups, {}, dict(value=4)),
    'Digits': (Digits, dict(lazy_init=True), dict(split='test')),
    'RandomSplit': (RandomSplit, dict(dataset=DATASET), dict(part='A', fraction=0.5, seed=0)),
    'CocoCrops': (CocoCrops, {}, dict(ann_file='nowhere.json', size=8, margin=0.1)),
    'Recipe': (Recipe, {}, dict(kind='shapes', train=1, val=1, size=64, seed=0)),
    'halves': (halves, dict(dataset=DATASET), dict(fraction=0.5, seed=0, stratified=False)),
    'MixSchedule': (MixSchedule, {}, dict(max_epochs=3, warmup_epochs=0, temperature=1.0, sampling='softmax')),
    'Selection': (Selection, {}, dict(method='score', candidates=3, batches=1, seed=0, data='val', norm_batches=0)),
    'CollapseWatch': (CollapseWatch, {}, dict(max_skips=0.5, stable_epochs=3, action='warn')),
    'read_history': (read_history, {}, dict(path='nowhere.json')),
    'read_run': (read_run, {}, dict(work_dir=Path('nowhere'))),
    'derivable': (derivable, {}, dict(primitives=['se'])),
    'sample_genotypes': (sample_genotypes, {}, dict(count=2, num_groups=2, primitives=['se', 'cbam'], seed=0)),
    'NetworkCost': (NetworkCost, {}, dict(name='macs', size=(8, 8), device='cpu')),
}
JUNK = [
    None,
    True,
    -1,
    0,
    1,
    3,
    10**30,
    0.5,
    -0.5,
    math.nan,
    math.inf,
    '',
    'x' * 10_000,
    '\x1b[2J',
    '\udcff',
    b'a',
    'se',
]
JUNK += [[], [[]], [['se'], ['se']], [None], ['x' * 10_000], {}, {'edges': 3}, {1: 2}, (), {'se'}, object(), len, 1j]


@pytest.mark.parametrize('name', PUBLIC)
def test_arguments(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(genotype, '_OWN', {})  # add_primitive adds to it
    function, fixed, good = PUBLIC[name]
    generator = random.Random(name)
    cases = [{**good, key: value} for key in good for value in JUNK]
    cases += [{key: generator.choice(JUNK) for key in good} for _ in range(60)]
    for case in cases:
        try:
            function(**fixed, **case)
        except OSError as error:  # of a path; it repeats the path
            assert name in ('CocoCrops', 'read_history', 'read_run') or len(str(error)) < 1000, case
        except (ValueError, TypeError) as error:
            assert 0 < len(str(error)) < 1000, case
