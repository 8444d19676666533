"""Genotypes as parameters, and random genotypes."""

from collections import Counter

import optuna
import pytest

from mmhoga.genotype import BUILTIN, PRIMITIVES, edge_list
from mmhoga.studies.space import from_parameters, sample_genotypes, suggest_genotype, to_parameters


def test_samples_are_distinct_seeded_and_even():
    genotypes = sample_genotypes(400, seed=3)
    assert len(set(genotypes)) == 400 and genotypes[:50] == sample_genotypes(50, seed=3)
    assert genotypes[:50] != sample_genotypes(50, seed=4)
    for j, k in edge_list(4):
        counts = Counter(genotype.operation(j, k) for genotype in genotypes)
        assert set(counts) == set(PRIMITIVES) - {'none'}
        assert sum((n - 50) ** 2 / 50 for n in counts.values()) < 24.3, 'chi-squared, 7 degrees of freedom, p = 0.001'
    assert genotypes[7].meta == {'trial': 7, 'sampling_seed': 3}


def test_the_samples_of_a_seed_never_change():
    rows = sample_genotypes(2, seed=0)[1].to_dict()['edges']
    assert rows == [
        ['cbam'],
        ['spatial_3x3_d2', 'norm_3x3_d2'],
        ['se_avgmax', 'spatial_3x3_d2', 'norm_3x3_d2'],
        ['cbam', 'cbam', 'se_avgmax', 'cbam'],
    ]


def test_a_space_can_be_exhausted():
    assert len(set(sample_genotypes(8, num_groups=2, primitives=['none', 'se', 'cbam']))) == 8
    with pytest.raises(ValueError, match='There are 8 genotypes with K = 2 and 2 candidates, not 9'):
        sample_genotypes(9, num_groups=2, primitives=['se', 'cbam'])
    with pytest.raises(ValueError, match="unknown operation 'sse'"):
        sample_genotypes(1, primitives=['sse'])
    with pytest.raises(ValueError, match="other than 'none'"):
        sample_genotypes(1, primitives=['none'])


def test_a_genotype_becomes_parameters_and_back():
    genotype = BUILTIN['autola']
    parameters = to_parameters(genotype)
    assert parameters['o_2_2'] == 'cbam' and parameters['o_0_1'] == 'norm_3x3' and len(parameters) == 10
    assert from_parameters(parameters, 4) == genotype


def test_a_sampler_chooses_every_edge_and_never_none():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    names = Counter()
    for _ in range(50):
        genotype = suggest_genotype(study.ask(), 2, PRIMITIVES)
        names.update(name for row in genotype.edges for name in row)
    assert set(names) == set(PRIMITIVES) - {'none'} and names.total() == 150
