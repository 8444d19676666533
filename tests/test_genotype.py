import json
import os
import random
import re
import sys

import pytest

from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, GenotypeError, edge_list, from_edges, num_edges, uniform

ROWS = [['skip_connect'], ['norm_3x3', 'se']]


def test_autola_is_fig_3():
    genotype = BUILTIN['autola']
    assert genotype.num_groups == 4
    fig_3 = {
        (0, 0): 'skip_connect', (0, 1): 'norm_3x3', (1, 1): 'spatial_3x3', (0, 2): 'norm_3x3', (1, 2): 'skip_connect',
        (2, 2): 'cbam', (0, 3): 'skip_connect', (1, 3): 'norm_3x3_d2', (2, 3): 'spatial_3x3', (3, 3): 'norm_3x3',
    }  # fmt: skip
    assert {edge: genotype.operation(*edge) for edge in edge_list(4)} == fig_3


def test_the_release_differs_from_fig_3_on_o_23_alone():
    ours, theirs = BUILTIN['autola'], BUILTIN['autola_release']
    assert [edge for edge in edge_list(4) if ours.operation(*edge) != theirs.operation(*edge)] == [(2, 3)]


@pytest.mark.parametrize('num_groups', [1, 2, 4, 8])
def test_edge_order_is_that_of_alphas_rows(num_groups):
    edges = edge_list(num_groups)
    assert len(edges) == num_edges(num_groups) == len(set(edges))
    assert edges == sorted(edges, key=lambda edge: (edge[1], edge[0]))


@pytest.mark.parametrize('name', BUILTIN)
def test_round_trips(name, tmp_path):
    genotype = Genotype(BUILTIN[name].edges, meta={'seed': 3, 'note': 'ünicode', 'alpha': [[0.5]]})
    path = tmp_path / 'genotype.json'
    genotype.save(path)
    forms = [path, str(path), genotype.to_dict(), [list(row) for row in genotype.edges], genotype]
    for again in map(Genotype.from_config, forms):
        assert again == genotype
        assert hash(again) == hash(genotype)
    assert Genotype.load(path).meta == genotype.meta
    assert list(tmp_path.iterdir()) == [path], 'a temporary file was left behind'


def test_meta_is_no_part_of_identity():
    assert Genotype(ROWS, meta={'seed': 0}) == Genotype(ROWS, meta={'seed': 1})
    assert len({Genotype(ROWS, meta={'seed': 0}), Genotype(ROWS)}) == 1


def test_str_reads_as_eq_2():
    assert str(Genotype(ROWS)) == 'U0 <- skip_connect(F0)\nU1 <- norm_3x3(U0), se(F1)'


def test_uniform():
    assert uniform('se', 2).edges == (('se',), ('se', 'se'))


@pytest.mark.parametrize(
    ('value', 'message'),
    [
        ('autolla', "Unknown genotype 'autolla'. Did you mean 'autola'?"),
        ([['skip_connect'], ['norm_3x3']], 'Row 1 has 1 entries, expected 2'),
        ([['se'], ['se', 'norm3x3']], "Row 1, entry 1: unknown operation 'norm3x3'. Did you mean 'norm_3x3'?"),
        ([['SE']], "Did you mean 'se'?"),
        ([[3]], 'Row 0, entry 0: unknown operation 3'),
        (['skip_connect'], 'Row 0 must be a list of 1 names'),
        ([], '"edges" is empty'),
        (3, 'this is int 3'),
        ({'rows': []}, "has no \"edges\"; its keys are ['rows']"),
        ({'edges': ROWS, 'num_groups': 4}, '"num_groups" is 4, but "edges" has 2 rows'),
        ({'edges': ROWS, 'version': 2}, 'reads version 1'),
        ({'edges': ROWS, 'format': 'darts'}, "\"format\" is 'darts'"),
        ({'edges': ROWS, 'seed': 1}, "Unknown keys ['seed']"),
        ({'edges': 'abc'}, '"edges" must be a list of rows'),
        ({'edges': ROWS, 'meta': 3}, '"meta" must be a dict'),
    ],
)  # fmt: skip
def test_bad_values_name_what_is_wrong(value, message):
    with pytest.raises(GenotypeError, match=re.escape(message)):
        Genotype.from_config(value)


def test_every_unknown_operation_lists_what_is_allowed():
    with pytest.raises(GenotypeError) as error:
        Genotype([['conv']])
    assert all(name in str(error.value) for name in PRIMITIVES)


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='No genotype file at'):
        Genotype.from_config(str(tmp_path / 'nowhere.json'))
    path = tmp_path / 'cut.json'
    path.write_text(BUILTIN['autola'].to_json()[:60])
    with pytest.raises(GenotypeError, match=r'cut\.json is not valid JSON, or is incomplete'):
        Genotype.load(path)
    path.write_text('[]')
    with pytest.raises(GenotypeError, match='expected an object'):
        Genotype.load(path)
    path.write_text(json.dumps({'edges': [['xyz']]}))
    with pytest.raises(GenotypeError, match=r'cut\.json: Row 0, entry 0'):
        Genotype.load(path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{"edges": [["se"]], "edges": [["se"]]}', "the key 'edges' occurs twice"),
        ('{"edges": [["se"]], "meta": {"a": 1, "a": 2}}', "the key 'a' occurs twice"),
        ('{"edges": [["se"]], "num_groups": 1.0}', '"num_groups" is 1.0'),
        ('{"edges": [["se"]], "num_groups": true}', '"num_groups" is True'),
        ('{"edges": [["se"]], "version": true}', '"version" is True'),
        ('{"edges": [["se"]], "meta": []}', '"meta" must be a dict'),
        ('{"edges": [["se"]], "meta": null}', '"meta" must be a dict'),
        ('{"edges": ' + '[' * 100_000, 'nested too deeply'),
        ('{"edges": [["se"]], "meta": {"seed": ' + '9' * 5000 + '}}', None),
        (r'{"edges": [["se"]], "meta": {"note": "\ud800"}}', 'surrogates not allowed'),
        (r'{"edges": [["\ud800"]]}', 'surrogates not allowed'),
    ],
    ids=lambda value: str(value)[:40],
)
def test_json_that_python_reads_and_that_is_no_genotype(tmp_path, text, message):
    path = tmp_path / 'genotype.json'
    path.write_text(text)
    if message is None and not hasattr(sys, 'set_int_max_str_digits'):
        return  # this Python reads any number
    with pytest.raises(GenotypeError, match=re.escape(message or 'is not valid JSON')) as error:
        Genotype.load(path)
    assert len(str(error.value)) < 600


@pytest.mark.parametrize(
    'value', ['x' * 10**6, [['x' * 10**6]], {'edges': ROWS, 'x' * 10**6: 1}, 'x' * 10**4 + '.json']
)
def test_long_values_are_not_repeated_in_full(value):
    with pytest.raises(GenotypeError) as error:
        Genotype.from_config(value)
    assert len(str(error.value)) < 800


def is_valid(data):
    """The rules of the format, written down a second time."""
    if type(data) is not dict or not set(data) <= {'format', 'version', 'num_groups', 'edges', 'meta'}:
        return False
    rows = data.get('edges')
    return (
        type(rows) is list
        and len(rows) > 0
        and all(type(row) is list and len(row) == k for k, row in enumerate(rows, start=1))
        and all(type(name) is str and name in PRIMITIVES for row in rows for name in row)
        and data.get('format', 'mmhoga.genotype') == 'mmhoga.genotype'
        and json.dumps(data.get('version', 1)) == '1'
        and json.dumps(data.get('num_groups', len(rows))) == str(len(rows))
        and type(data.get('meta', {})) is dict
    )


VALUES = (None, True, 0, 1, 4, 4.0, -1, '', 'se', 'SE', 'mmhoga.genotype', [], [[]], [['se']], {}, {'a': 1}, '\x1b[31m')


def mutated(random, value):
    """The value with one change somewhere in it."""
    if isinstance(value, (dict, list)) and value and random.random() < 0.8:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random.choice(keys)
        copied = value.copy()
        if random.random() < 0.2:
            del copied[key]
        elif random.random() < 0.1 and isinstance(value, list):
            copied.append(random.choice(VALUES))
        elif random.random() < 0.1 and isinstance(value, dict):
            copied[random.choice(['x', 'edges', 'meta'])] = random.choice(VALUES)
        else:
            copied[key] = mutated(random, value[key])
        return copied
    return random.choice((*VALUES, *PRIMITIVES))


def test_mutated_genotypes_are_refused_or_valid(tmp_path):
    """Files with 1 to 3 changes: each is read if it keeps the rules, else refused in one short text.

    MMHOGA_FUZZ sets their number.
    """
    generator, accepted = random.Random(0), 0
    path = tmp_path / 'genotype.json'
    for _ in range(number := int(os.environ.get('MMHOGA_FUZZ', '2000'))):
        data = BUILTIN[generator.choice(list(BUILTIN))].to_dict()
        for _ in range(generator.randint(1, 3)):
            data = mutated(generator, data)
        path.write_text(json.dumps(data))
        try:
            Genotype.load(path)
            read = True
        except GenotypeError as error:
            read = False
            assert len(str(error)) < 800
        assert read == is_valid(data), data
        accepted += read
    assert number / 100 < accepted < number / 2


@pytest.mark.parametrize('name', ['autola', 'hog_se'])
def test_the_operations_in_the_order_of_the_edges(name):
    genotype = Genotype.from_config(name)
    assert from_edges([genotype.operation(*edge) for edge in edge_list(4)]) == genotype
    assert from_edges(['se']) == Genotype([['se']])
    with pytest.raises(GenotypeError, match='Row 1 has 1 entries, expected 2'):
        from_edges(['se', 'cbam'])
