"""``mmhoga places``: the table, the sum, and the line that it prints, which must work when pasted."""

import re

import pytest
from small_configs import CLASSIFIER, DETECTOR, SEARCH

import mmhoga
from mmhoga.cli.places import places_main
from mmhoga.hosts import build_model, load_config
from mmhoga.insertion import cells_of, find_places
from mmhoga.models import HOGA
from mmhoga.models.complexity import count_parts

PLAIN = CLASSIFIER.replace('PLUGINS', '').replace('INDICES', '4')
PLAIN_DETECTOR = re.sub(r'norm_eval=False,\n.*\)\]\)', 'norm_eval=False)', DETECTOR)
POSE_OF_MMDET = """
_base_ = 'mmpose::body_2d_keypoint/rtmpose/coco/rtmpose-t_8xb256-420e_coco-256x192.py'
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Write a config into an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def write(text, name='config.py'):
        (tmp_path / name).write_text(text)
        return name

    return write


def table(text):
    """The rows by their pattern, and the last line."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(('after ', 'before ')))
    rows = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        rows[line.split()[0]] = line.split()[1:]
    return rows, lines[-1]


def test_the_costs_are_those_of_the_cells(config, capsys):
    pytest.importorskip('mmpretrain')
    name = config(PLAIN.replace('depth=8', 'depth=14'))
    assert places_main([name, '--shape', '32', '16']) == 0
    output = capsys.readouterr().out
    rows, _ = table(output)
    assert rows[r'backbone\.layer1\.\d+\.conv2'][:5] == ['2', 'Conv2d', 'NCHW', '8', '32x16']
    cell = count_parts(HOGA(16, genotype='autola'), (16, 16, 8))['']
    network = count_parts(build_model(load_config(name)), (1, 32, 16))['']
    parameters, share, macs, macs_share = map(float, rows[r'backbone\.layer2\.\d+\.conv2'][-4:])
    assert parameters == pytest.approx(2 * cell.params / 1e6, rel=0.005)
    assert share == pytest.approx(200 * cell.params / network.params, rel=0.005)
    assert macs == pytest.approx(2 * cell.macs / 1e9, rel=0.005)
    assert macs_share == pytest.approx(200 * cell.macs / network.macs, rel=0.005)
    assert not any('bn' in pattern or 'relu' in pattern for pattern in rows)
    assert re.search(r'Not listed: \d+ modules where no attention can go, \d+ norms', output)


def test_all_modules_with_the_reason(config, capsys):
    pytest.importorskip('mmpretrain')
    name = config(PLAIN)
    assert places_main([name, '--all', '--shape', '16']) == 0
    output = capsys.readouterr().out
    rows, _ = table(output)
    network = build_model(load_config(name))
    assert [re.sub(r'\\', '', pattern) for pattern in rows] == [place.name for place in find_places(network)]
    assert rows[r'backbone\.layer1\.0\.conv1'][0] == '1' and rows[r'backbone\.bn1'][1] == 'BatchNorm2d'
    assert re.search(r'^head\\\.fc .* does not run in a forward pass$', output, re.M)


def test_before_lists_the_maps_that_modules_take(config, capsys):
    pytest.importorskip('mmpretrain')
    assert places_main([config(PLAIN), '--before', '--shape', '16', '--match', r'backbone\.layer2\.0\.conv\d']) == 0
    rows, last = table(capsys.readouterr().out)
    assert rows[r'backbone\.layer2\.0\.conv1'][3:5] == ['8', '16x16']
    assert rows[r'backbone\.layer2\.0\.conv2'][3:5] == ['16', '8x8']
    assert last.endswith(r"before=r'layer2\.0\.conv\d'))")


def test_widths_that_k_does_not_divide_are_marked(config, capsys):
    pytest.importorskip('mmpretrain')
    text = PLAIN.replace('base_channels=8', 'base_channels=6').replace('in_channels=32', 'in_channels=24')
    name = config(text)
    assert places_main([name, '--match', r'backbone\.layer\d', '--shape', '16']) == 0
    output = capsys.readouterr().out
    assert re.search(r'layer1 .* 6 .*K = 4 does not divide the channels$', output, re.M)
    assert '2 of 3 modules take the attention' in output  # those of 12 and 24 channels
    assert pasted(config, name, output.splitlines()[-1]) == ['backbone.layer2.hoga', 'backbone.layer3.hoga']


def pasted(config, base, line):
    """The names of the cells of a config that inherits from ``base`` and has the line that was printed."""
    cfg = load_config(config(f'_base_ = {base!r}\n{line}\n', 'pasted.py'))
    return list(cells_of(build_model(cfg)))


@pytest.mark.parametrize(
    ('text', 'pattern', 'expected'),
    [
        pytest.param(PLAIN, r'backbone\.layer\d\.0\.conv2', 'backbone=dict(', id='backbone'),
        pytest.param(PLAIN, r'.*conv2', "after='.*conv2'", id='a pattern without the prefix'),
        pytest.param(PLAIN_DETECTOR, r'neck\.lateral_convs\.\d', "into='RetinaNet'", id='neck'),
        pytest.param(PLAIN_DETECTOR, r'(backbone\.layer4|neck\.fpn_convs\.\d)', "into='RetinaNet'", id='both'),
        pytest.param(SEARCH, r'architecture\.backbone\.layer[12]', 'architecture=dict(backbone=dict(', id='search'),
        pytest.param(POSE_OF_MMDET, r'backbone\.stage\d\.1', "into='CSPNeXt'", id='a backbone of another host'),
    ],
)
def test_the_printed_line_works(config, capsys, text, pattern, expected):
    pytest.importorskip('mmpose' if 'mmpose' in text else 'mmdet' if 'Retina' in text else 'mmpretrain')
    base = config(text)
    assert places_main([base, '--match', pattern, '--shape', '64']) == 0
    rows, line = table(capsys.readouterr().out)
    assert expected in line
    plain = build_model(load_config(base))
    wanted = [place.name for place in find_places(plain) if re.fullmatch(pattern, place.name)]
    assert sum(int(row[0]) for row in rows.values()) == len(wanted) > 0
    assert pasted(config, base, line) == [f'{name}.hoga' for name in wanted]


def test_the_config_of_a_host_by_its_name(config, capsys):
    pytest.importorskip('mmdet')
    base = 'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py'
    assert places_main([base, '--match', r'backbone\.stage\d', '--shape', '64', '--cell', 'se']) == 0
    _, line = table(capsys.readouterr().out)
    assert pasted(config, base, line) == [f'backbone.stage{stage}.attention' for stage in (1, 2, 3, 4)]


@pytest.mark.parametrize('name', ['timm:resnet18', 'torchvision:mobilenet_v3_small'])
def test_a_network_of_a_library(capsys, name):
    library = name.partition(':')[0]
    package = pytest.importorskip(library)
    pattern = {'timm': r'layer\d\.\d\.conv2', 'torchvision': r'features\.[1-9]'}[library]
    assert places_main([name, '--match', pattern, '--shape', '64']) == 0
    rows, _ = output = table(text := capsys.readouterr().out)
    printed = '\n'.join(text.splitlines()[-2:])
    printed = printed.replace('pretrained=True', 'pretrained=False').replace("'DEFAULT'", 'None')  # no download
    variables = {library: package, 'mmhoga': mmhoga}
    exec(printed, variables)
    cells = cells_of(variables['network'])
    assert len(cells) == sum(int(row[0]) for row in rows.values()) and output[1].startswith('mmhoga.insert(')
    added = sum(p.numel() for cell in cells.values() for p in cell.parameters())
    assert f'{len(cells)} of {len(cells)} modules take the attention: {added / 1e6:.3g} M parameters' in text


def test_a_genotype_from_a_file_is_written_out(config, capsys, tmp_path):
    pytest.importorskip('mmpretrain')
    base = config(PLAIN)
    mmhoga.Genotype([['skip_connect'], ['se', 'norm_3x3']]).save(tmp_path / 'mine.json')
    assert places_main([base, '--genotype', 'mine.json', '--match', r'backbone\.layer1', '--shape', '16']) == 0
    _, line = table(capsys.readouterr().out)
    (tmp_path / 'mine.json').unlink()
    cfg = load_config(config(f'_base_ = {base!r}\n{line}\n', 'pasted.py'))
    (cell,) = cells_of(build_model(cfg)).values()
    assert cell.genotype.edges == (('skip_connect',), ('se', 'norm_3x3'))


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['--match', 'layer1'], "no module of ImageClassifier has a name that matches 'layer1' as a whole. Similar"),
        (['--match', 'layer('], "'layer(' is not a regular expression"),
        (['--genotype', 'autolo'], '--genotype: '),
        (['--genotype', 'autola', '--cell', 'se'], '--genotype is for --cell hoga, and not for se.'),
        (['--shape', '1', '2', '3'], '--shape takes height and width'),
        (['--shape', '16', '--cfg-options', 'model.backbone.depth=9'], 'depth'),
    ],
)
def test_mistakes_are_one_paragraph(config, capsys, arguments, message):
    pytest.importorskip('mmpretrain')
    assert places_main([config(PLAIN), *arguments]) == 2
    captured = capsys.readouterr()
    error = captured.err.splitlines()[-1]
    assert error.startswith('error: ') and message in error and not captured.out


@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('timm:resnet51', "timm cannot build 'resnet51'"),
        ('torchvision:resnet51', "torchvision cannot build 'resnet51'"),
        ('nothing.py', 'there is no config nothing.py'),
        ('mmdet::nothing.py', 'there is no config mmdet::nothing.py'),
        ('mmsegmentation::x.py', 'mmsegmentation is none of mmdet, mmpretrain, mmpose'),
    ],
)
def test_networks_that_do_not_exist(capsys, name, message):
    if name.startswith(('timm', 'torchvision')):
        pytest.importorskip(name.partition(':')[0])
    if name.startswith('mmdet'):
        pytest.importorskip('mmdet')
    assert places_main([name]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_a_pattern_that_insert_would_refuse(config, capsys):
    pytest.importorskip('mmpretrain')
    assert places_main([config(PLAIN), '--match', r'backbone\.layer1|head\.fc', '--shape', '16']) == 0
    output = capsys.readouterr().out
    assert '1 of 2 modules take the attention' in output and 'type=' not in output.split('mmhoga.Insert refuses')[1]


def test_an_attention_that_timm_does_not_have(config, capsys):
    pytest.importorskip('mmpretrain')
    assert places_main([config(PLAIN), '--cell', 'sse', '--shape', '16']) == 2
    assert "'sse'" in capsys.readouterr().err.splitlines()[-1]
