"""``mmhoga genotype``, and the authors' text that it converts."""

import json
import subprocess
import sys

import pytest

from mmhoga.cli.genotype import genotype_main
from mmhoga.genotype import BUILTIN, Genotype, GenotypeError, uniform
from mmhoga.interop.autola import read_genotypes
from mmhoga.models import HOGA

RELEASED = """
from collections import namedtuple
Genotype = namedtuple('Genotype', 'normal normal_concat')
AutoLA = Genotype(
    normal=[('skip_connect', 0), ('sep_conv_3x3_spatial', 0), ('sep_conv_3x3', 1),
            ('CBAM', 0), ('skip_connect', 2), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 1),
            ('sep_conv_3x3', 3), ('dil_conv_3x3', 2)],
    normal_concat=range(2, 6))
"""
LOG = """
2020-05-01 12:00:00 epoch 0 lr 2.5e-02
2020-05-01 12:03:10 genotype = Genotype(normal=[('SE', 0)], normal_concat=range(1))
2020-05-01 12:06:20 genotype = Genotype(normal=[('SE_A_M', 0)], normal_concat=range(1))
"""


def call(*arguments):
    try:
        return genotype_main([str(argument) for argument in arguments])
    except SystemExit as error:  # argparse
        return error.code


def test_the_authors_text_is_read_without_evaluating_it():
    assert read_genotypes(RELEASED) == {'AutoLA': BUILTIN['autola_release']}
    assert read_genotypes(LOG) == {'genotype': uniform('se', 1), 'genotype#2': uniform('se_avgmax', 1)}


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('nothing here', "no 'Genotype"),
        ("\n\nA = Genotype(normal=[('SE', 0)", 'Line 3: .* cut off'),
        ('A = Genotype(reduce=[])', 'no "normal"'),
        ('A = Genotype(normal=__import__("os").getcwd())', 'not a literal list'),
        ('A = Genotype(normal=[("SE", 0, 1)])', r'entry 0: expected \(operation, index\)'),
        ('A = Genotype(normal=["SE"])', r"entry 0: expected \(operation, index\), not 'SE'"),
        ('A = Genotype(normal=1)', 'not a list of'),
        ('A = Genotype(normal=[("max_pool", 0)])', "Unknown operation 'max_pool'"),
        ('A = Genotype(normal=[("SE", 0), ("SE", 0)])', r'2 pairs: expected K\(K\+1\)/2'),
        ('A = Genotype(normal=[("SE", 0) ("SE" 0)])', 'Line 1'),
    ],
)
def test_text_that_holds_no_genotype(text, message):
    with pytest.raises(GenotypeError, match=message):
        read_genotypes(text)


def test_convert_and_show(tmp_path, capsys):
    source, out = tmp_path / 'genotypes.py', tmp_path / 'cell.json'
    source.write_text(RELEASED + LOG)
    assert call('convert', source, '--name', 'AutoLA', '--out', out) == 0
    assert "built-in 'autola_release'" in capsys.readouterr().out
    assert Genotype.load(out) == BUILTIN['autola_release']
    assert Genotype.load(out).meta == {'source': 'genotypes.py', 'name': 'AutoLA'}
    assert call('convert', source) == 0, 'the last one, printed'
    assert json.loads(capsys.readouterr().out)['edges'] == [['se_avgmax']]
    assert call('show', out) == 0
    printed = capsys.readouterr().out
    assert 'U1 <- norm_3x3(U0), spatial_3x3(F1)' in printed and 'K = 4, 10 edges: 4 x norm_3x3' in printed
    assert 'from: name AutoLA, source genotypes.py' in printed
    assert call('show', '--json', 'autola') == 0
    assert Genotype.from_dict(json.loads(capsys.readouterr().out)[0]) == BUILTIN['autola']


def test_convert_mistakes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'genotypes.py').write_text(RELEASED)
    (tmp_path / 'picture.png').write_bytes(b'\xff\xd8')
    for arguments, message in (
        (['genotype.py'], 'there is no file genotype.py. Did you mean'),
        (['picture.png'], "picture.png: 'utf-8' codec can't decode"),
        (['genotypes.py', '--name', 'DARTS'], "has no genotype 'DARTS'. It has AutoLA."),
        (['genotypes.py', '--out', 'x.txt'], '--out: the name must end in .json, not x.txt'),
        (['genotypes.py', '--out', 'nowhere/x.json'], '--out: nowhere is not a folder that can be written to'),
    ):
        assert call('convert', *arguments) == 2
        assert message in capsys.readouterr().err


def test_show_prints_no_terminal_escapes_of_a_file(tmp_path, capsys):
    path = tmp_path / 'genotype.json'
    Genotype(BUILTIN['autola'].edges, meta={'note': '\x1b[31mred\n'}).save(path)
    assert genotype_main(['show', str(path)]) == 0
    assert 'note \\x1b[31mred\\n' in capsys.readouterr().out


def test_show_several(tmp_path, capsys):
    two = tmp_path / 'two.json'
    uniform('se', 2).save(two)
    assert call('show', 'autola', two) == 0
    assert 'K = 4, 10 edges' in (printed := capsys.readouterr().out) and 'K = 2, 3 edges: 3 x se' in printed
    assert call('show', '--json', 'autola', two) == 0
    assert [entry['num_groups'] for entry in json.loads(capsys.readouterr().out)] == [4, 2]
    (tmp_path / 'bad.json').write_text('{nope')
    for genotype, message in (
        (tmp_path / 'tow.json', f'Did you mean {two}'),
        (tmp_path / 'bad.json', 'not valid JSON'),
    ):
        assert call('show', genotype) == 2
        assert message in capsys.readouterr().err


def test_validate(tmp_path, capsys):
    bad = tmp_path / 'bad.json'
    bad.write_text('{"edges": [["se"], ["se"]]}')
    assert call('validate', 'autola', bad, tmp_path / 'bed.json') == 2
    printed = capsys.readouterr()
    assert printed.out == 'autola: good, K = 4\n'
    assert 'Row 1 has 1 entries, expected 2' in printed.err
    assert f'bed.json. Did you mean {bad}?' in printed.err


def test_compare(tmp_path, capsys):
    assert call('compare', 'autola', 'autola_release') == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if '*' in line] == ['o_2_3'] and lines[-1] == '9 of 10 edges agree.'
    two = tmp_path / 'two.json'
    uniform('se', 2).save(two)
    assert call('compare', 'autola', two) == 2
    assert f'autola has K = 4, {two} has K = 2' in capsys.readouterr().err
    assert call('compare', 'autola') == 2


def test_count_adds_up(capsys):
    assert call('count', 'autola', '--channels', 64, '--size', 14, 7) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:]]
    *parts, total = [(int(row[-2].replace(',', '')), int(row[-1].replace(',', ''))) for row in rows]
    assert sum(params for params, _ in parts) == total[0] == sum(p.numel() for p in HOGA(64).parameters())
    assert sum(macs for _, macs in parts) == total[1]
    # o_13, norm_3x3_d2 on 16 channels: depth-wise 3x3, point-wise, the norm; 98 pixels.
    assert next(row for row in rows if row[0] == 'o_1_3')[-2:] == ['432', f'{98 * (16 * 9 + 16 * 16 + 2 * 16):,}']
    assert call('count', 'autola', '--channels', 6, '--size', 8) == 2
    assert 'does not divide in_channels = 6' in capsys.readouterr().err
    assert call('count', 'autola', '--channels', 64, '--size', 8, 8, 8) == 2
    assert '--size takes height and width' in capsys.readouterr().err
    assert call('count', 'autola', '--channels', 0, '--size', 8) == 2
    assert '--channels: must be a positive integer, not 0' in capsys.readouterr().err


def test_draw(tmp_path, capsys):
    out = tmp_path / 'cell.svg'
    assert call('draw', 'autola', '--out', out) == 0
    assert out.read_text().startswith('<svg')
    assert capsys.readouterr().out.split() == [str(out.with_suffix('.csv')), str(out)]
    rows = [line.split(',') for line in out.with_suffix('.csv').read_text().splitlines()]
    assert rows[0] == ['edge', 'autola', 'differ'] and len(rows) == 11
    assert ['o_2_2', 'cbam', 'no'] in rows
    assert call('draw', 'autoIa', '--out', out) == 2
    assert "Did you mean 'autola'?" in capsys.readouterr().err
    assert call('draw', 'autola', '--out', tmp_path / 'cell.gif') == 2
    assert 'must end in .svg or .png or .pdf' in capsys.readouterr().err


def test_draw_two_and_table_what_differs(tmp_path):
    """Fig. 3 and the released code differ in one edge; a genotype of two groups lacks those of more."""
    out, small = tmp_path / 'two.png', tmp_path / 'genotype.json'
    uniform('se', 2).save(small)
    assert call('draw', 'autola', 'autola_release', '--out', out) == 0
    rows = [line.split(',') for line in out.with_suffix('.csv').read_text().splitlines()[1:]]
    assert [row[0] for row in rows if row[-1] == 'yes'] == ['o_2_3']
    assert call('draw', 'autola', small, '--out', tmp_path / 'genotype.png') == 0
    rows = [line.split(',') for line in (tmp_path / 'genotype.csv').read_text().splitlines()[1:]]
    assert rows[2] == ['o_1_1', 'spatial_3x3', 'se', 'yes'] and rows[9] == ['o_3_3', 'norm_3x3', '', 'yes']
    assert small.read_text() == uniform('se', 2).to_json()


def test_only_drawing_needs_matplotlib(root):
    code = "import sys; sys.modules['matplotlib'] = None; from mmhoga.cli.genotype import genotype_main as main; "
    command = [sys.executable, '-c', code + "sys.exit(main(['show', 'autola']))"]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_module_of_own_primitives(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr('sys.path', [*sys.path])
    (tmp_path / 'prints_at_import.py').write_text("print('imported')")
    assert call('--import', 'prints_at_import', 'validate', 'autola') == 0
    assert capsys.readouterr().out.startswith('imported')
    assert call('--import', 'no_such_module', 'show', 'autola') == 2
    assert '--import no_such_module: ModuleNotFoundError: No module named' in capsys.readouterr().err
    (tmp_path / 'divides_by_zero.py').write_text('1 / 0')
    assert call('--import', 'divides_by_zero', 'show', 'autola') == 2
    assert '--import divides_by_zero: ZeroDivisionError' in capsys.readouterr().err
