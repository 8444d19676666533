"""The drawing as SVG, PNG and PDF."""

import re
from xml.etree import ElementTree

import pytest

from mmhoga.figures import styles
from mmhoga.figures.genotype_figure import describe, differing_edges, genotype_svg, save_drawing
from mmhoga.figures.styles import INK, SOFT
from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, edge_list, uniform

SVG = '{http://www.w3.org/2000/svg}'
AUTOLA = BUILTIN['autola']


def _saved(tmp_path, genotypes, suffix='svg', **kwargs):
    path = tmp_path / f'cell.{suffix}'
    save_drawing(genotypes, path, **kwargs)
    return path


def _ids(svg):
    """id -> element, of an SVG that must be well-formed and have unique ids."""
    elements = [element for element in ElementTree.fromstring(svg).iter() if 'id' in element.attrib]
    ids = {element.get('id'): element for element in elements}
    assert len(ids) == len(elements)
    return ids


def _texts(element):
    return [''.join(text.itertext()) for text in element.iter(f'{SVG}text')]


@pytest.mark.parametrize('genotype', [uniform('none', 1), AUTOLA, uniform('spatial_3x3_d2', 8)])
@pytest.mark.parametrize('alone', [False, True])
def test_each_edge_has_its_label_and_its_hint(tmp_path, genotype, alone):
    svg = _saved(tmp_path, genotype).read_text() if alone else genotype_svg(genotype, name='cell')
    ids = _ids(svg)
    for source, target in edge_list(genotype.num_groups):
        operation = genotype.operation(source, target)
        for number, line in enumerate(styles.style(operation).lines):
            label = ids[f'cell-o_{source}_{target}-{number}']
            assert _texts(label) == [line]
            assert label.find(f'{SVG}title').text == f'{styles.edge_label(source, target)}: {operation}'
        assert ids[f'cell-o_{source}_{target}'].find(f'{SVG}title') is not None


def test_title_is_escaped_and_the_drawing_is_described():
    root = ElementTree.fromstring(genotype_svg(AUTOLA, name='a', title='<b>"mine" & yours'))
    assert root.find(f'{SVG}title').text == '<b>"mine" & yours'
    assert root.get('aria-label') == '<b>"mine" & yours'
    assert root.get('role') == 'img'
    assert 'CBAM (F₂→U₂)' in root.find(f'{SVG}desc').text
    assert describe(AUTOLA).count('→') == 10


def test_a_page_sets_the_colours_and_a_file_has_its_own(tmp_path):
    inline, alone = genotype_svg(AUTOLA, name='a'), _saved(tmp_path, AUTOLA).read_text()
    assert 'currentColor' in inline and 'var(--soft)' in inline
    assert INK not in inline and SOFT not in inline and 'prefers-color-scheme' not in inline
    assert 'prefers-color-scheme: dark' in alone and 'var(' not in alone
    assert all(ids.startswith('a-') for ids in _ids(inline))
    assert genotype_svg(AUTOLA, name='a') == inline, 'the same bytes each time'


def test_one_unit_is_one_pixel_and_narrow_pages_scroll():
    root = ElementTree.fromstring(genotype_svg(AUTOLA, name='a'))
    assert float(root.get('width')) == float(root.get('viewBox').split()[2])
    assert float(re.search(r'min-width: (\d+)px', root.get('style'))[1]) < float(root.get('width'))


def test_an_operation_without_a_style_is_drawn_under_its_own_name():
    look = styles.style('coordinate_7x7')
    assert look.lines == ('coordinate', '7x7')
    assert look.colour == styles.FAMILIES['other'].colour


def test_every_primitive_has_a_style_and_no_two_look_alike():
    looks = [styles.style(name) for name in PRIMITIVES]
    assert all(look.family != 'other' for look in looks)
    assert len({(look.colour, look.dashed) for look in looks}) == len({look.label for look in looks}) == len(PRIMITIVES)


@pytest.mark.parametrize(('suffix', 'magic'), [('svg', b'<svg'), ('png', b'\x89PNG'), ('pdf', b'%PDF')])
@pytest.mark.parametrize('genotypes', [AUTOLA, {'a': AUTOLA, 'b $1': uniform('se', 2)}])
def test_files(tmp_path, genotypes, suffix, magic):
    content = _saved(tmp_path, genotypes, suffix).read_bytes()
    assert content.startswith(magic) and len(content) > 3000


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'must end in \.svg, \.png or \.pdf'):
        save_drawing(AUTOLA, tmp_path / 'cell.jpg')
    with pytest.raises(FileNotFoundError, match='create it first'):
        save_drawing(Genotype((('se',),)), tmp_path / 'missing' / 'cell.svg')


def test_rings_are_where_two_genotypes_differ(tmp_path):
    """Fig. 3 and the released code differ only in o_23 (spatial against norm)."""
    pair = {'paper': AUTOLA, 'release': BUILTIN['autola_release']}
    assert differing_edges(list(pair.values())) == {(2, 3)}
    svg = _saved(tmp_path, pair).read_text()
    assert [name for name in _ids(svg) if name.endswith('-ring')] == ['cell-0-o_2_3-ring', 'cell-1-o_2_3-ring']
    words = _texts(ElementTree.fromstring(svg))
    assert 'paper' in words and 'release' in words
    assert 'Ringed: the edges that differ, 1 of 10.' in words
    assert 'All edges are the same.' in _saved(tmp_path, {'a': AUTOLA, 'b': AUTOLA}).read_text()


def test_genotypes_of_different_size_can_be_compared(tmp_path):
    """Edges that only one of them has count as different."""
    small, large = uniform('se', 2), uniform('se', 3)
    assert differing_edges([small, large]) == {(0, 2), (1, 2), (2, 2)}
    assert _saved(tmp_path, {'<2>': small, '3': large}).read_text().count('-ring"') == 3
