"""The drawing as SVG, PNG and PDF."""

from xml.etree import ElementTree

import pytest

from mmhoga.figures import palette
from mmhoga.figures.genotype_drawing import describe, differing_edges, draw_comparison, draw_genotype
from mmhoga.figures.genotype_figure import genotype_figure, save_drawing
from mmhoga.genotype import BUILTIN, PRIMITIVES, Genotype, edge_list, uniform

SVG = '{http://www.w3.org/2000/svg}'
AUTOLA = BUILTIN['autola']


def _labels(svg):
    """Box name -> its text, of an SVG that must be well-formed."""
    root = ElementTree.fromstring(svg)
    groups = [group for group in root.iter(f'{SVG}g') if 'data-box' in group.attrib]
    return {group.get('data-box'): [text for node in group.iter(f'{SVG}text') for text in node.itertext()]
            for group in groups}  # fmt: skip


@pytest.mark.parametrize('genotype', [uniform('none', 1), AUTOLA, uniform('spatial_3x3_d2', 8)])
@pytest.mark.parametrize('alone', [False, True])
def test_well_formed_with_one_label_an_edge(genotype, alone):
    labels = _labels(draw_genotype(genotype, alone=alone))
    for source, target in edge_list(genotype.num_groups):
        wanted = palette.style(genotype.operation(source, target)).lines
        assert tuple(labels[f'o_{source}_{target}']) == wanted


def test_title_is_escaped_and_the_drawing_is_described():
    svg = draw_genotype(AUTOLA, title='<b>"mine" & yours')
    root = ElementTree.fromstring(svg)
    assert root.find(f'{SVG}title').text == '<b>"mine" & yours'
    assert root.get('aria-label') == '<b>"mine" & yours'
    assert 'CBAM (F₂→U₂)' in root.find(f'{SVG}desc').text
    assert describe(AUTOLA).count('→') == 10


def test_inline_takes_the_colour_of_the_page_and_has_no_ids():
    inline, alone = draw_genotype(AUTOLA), draw_genotype(AUTOLA, alone=True)
    assert 'currentColor' in inline and ' id=' not in inline
    assert 'prefers-color-scheme' not in inline
    assert 'prefers-color-scheme: dark' in alone


def test_an_operation_without_a_style_is_drawn_under_its_own_name():
    look = palette.style('coordinate_7x7')
    assert look.lines == ('coordinate', '7x7')
    assert look.colour == palette.FAMILIES['other'].colour


def test_every_primitive_has_a_style_and_no_two_look_alike():
    looks = [palette.style(name) for name in PRIMITIVES]
    assert all(look.family != 'other' for look in looks)
    assert len({(look.colour, look.dashed) for look in looks}) == len({look.label for look in looks}) == len(PRIMITIVES)


@pytest.mark.parametrize(('suffix', 'magic'), [('svg', b'<svg'), ('png', b'\x89PNG'), ('pdf', b'%PDF')])
def test_files(tmp_path, suffix, magic):
    path = tmp_path / f'cell.{suffix}'
    save_drawing(AUTOLA, path)
    assert path.read_bytes().startswith(magic)


def test_the_figure_shows_the_same_labels():
    texts = [text.get_text() for text in genotype_figure(AUTOLA).axes[0].texts]
    wanted = [line for row in AUTOLA.edges for name in row for line in palette.style(name).lines]
    assert not set(wanted) - set(texts)
    assert texts.count('CBAM') == 2  # the edge and the legend


def test_what_cannot_be_written_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r'must end in \.svg, \.png or \.pdf'):
        save_drawing(AUTOLA, tmp_path / 'cell.jpg')
    with pytest.raises(FileNotFoundError, match='create it first'):
        save_drawing(Genotype((('se',),)), tmp_path / 'missing' / 'cell.svg')


def test_rings_are_where_two_genotypes_differ():
    """Fig. 3 and the released code differ in o_23 alone (spatial against norm)."""
    pair = {'paper': AUTOLA, 'release': BUILTIN['autola_release']}
    assert differing_edges(list(pair.values())) == {(2, 3)}
    svg = draw_comparison(pair)
    root = ElementTree.fromstring(svg)
    assert svg.count('class="ring"') == 2  # one in each drawing
    boxes = [float(group[1].get('x')) for group in root.iter(f'{SVG}g') if group.get('data-box') == 'o_2_3']
    rings = [float(rect.get('x')) for rect in root.iter(f'{SVG}rect') if rect.get('class') == 'ring']
    assert rings == [x - 3.5 for x in boxes]
    words = [''.join(text.itertext()) for text in root.iter(f'{SVG}text')]
    assert 'paper' in words and 'release' in words
    assert 'Ringed: the edges that differ, 1 of 10.' in words
    assert 'All edges are the same.' in draw_comparison({'a': AUTOLA, 'b': AUTOLA})


def test_genotypes_of_different_size_can_be_compared():
    """The edges that only one has differ."""
    small, large = uniform('se', 2), uniform('se', 3)
    assert differing_edges([small, large]) == {(0, 2), (1, 2), (2, 2)}
    assert draw_comparison({'<2>': small, '3': large}).count('class="ring"') == 3


@pytest.mark.parametrize('suffix', ['svg', 'png', 'pdf'])
def test_a_comparison_as_a_file(tmp_path, suffix):
    path = tmp_path / f'pair.{suffix}'
    save_drawing({'a': AUTOLA, 'b': uniform('se', 2)}, path)
    assert path.stat().st_size > 3000
