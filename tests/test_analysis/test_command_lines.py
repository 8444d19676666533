"""tools/analysis_tools/draw_genotype.py and report.py."""

import runpy
import sys

import pytest

from mmhoga.genotype import uniform


@pytest.fixture
def run(root, monkeypatch):
    def call(tool, *arguments):
        path = root / 'tools' / 'analysis_tools' / tool
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(path), run_name='__main__')
        return exit_.value.code

    return call


def test_draw_genotype(run, tmp_path, capsys):
    out = tmp_path / 'cell.svg'
    assert run('draw_genotype.py', 'autola', '--out', out) == 0
    assert out.read_text().startswith('<svg')
    assert capsys.readouterr().out.split() == [str(out.with_suffix('.csv')), str(out)]
    rows = [line.split(',') for line in out.with_suffix('.csv').read_text().splitlines()]
    assert rows[0] == ['edge', 'autola', 'differ'] and len(rows) == 11
    assert ['o_2_2', 'cbam', 'no'] in rows


def test_two_genotypes_as_a_table(run, tmp_path):
    """Fig. 3 and the released code differ in one edge; a genotype of two groups lacks those of more."""
    out = tmp_path / 'two.png'
    small = tmp_path / 'genotype.json'
    uniform('se', 2).save(small)
    assert run('draw_genotype.py', 'autola', 'autola_release', '--out', out) == 0
    rows = [line.split(',') for line in out.with_suffix('.csv').read_text().splitlines()[1:]]
    assert [row[0] for row in rows if row[-1] == 'yes'] == ['o_2_3']
    assert run('draw_genotype.py', 'autola', small, '--out', tmp_path / 'genotype.png') == 0
    rows = [line.split(',') for line in (tmp_path / 'genotype.csv').read_text().splitlines()[1:]]
    assert rows[2] == ['o_1_1', 'spatial_3x3', 'se', 'yes'] and rows[9] == ['o_3_3', 'norm_3x3', '', 'yes']
    assert small.read_text() == uniform('se', 2).to_json()


def test_draw_genotype_explains_bad_input(run, tmp_path, capsys):
    assert run('draw_genotype.py', 'autoIa', '--out', tmp_path / 'cell.svg') == 2
    assert "Did you mean 'autola'?" in capsys.readouterr().err
    assert run('draw_genotype.py', 'autola', '--out', tmp_path / 'cell.gif') == 2
    assert '.svg, .png or .pdf' in capsys.readouterr().err


def test_report(run, tmp_path, search_dir, write_run, capsys):
    out = tmp_path / 'r.html'
    arguments = ['--search', search_dir, '--network', 'plain', write_run('a', 0), write_run('a', 1)]
    assert run('report.py', *arguments, '--split', 'test', '--out', out) == 0
    assert 'test accuracy' in out.read_text()
    assert capsys.readouterr().out.split() == [str(out.with_suffix('.json')), str(out)]


def test_report_explains_bad_input(run, tmp_path, capsys):
    assert run('report.py', '--search', tmp_path, '--out', tmp_path / 'r.html') == 2
    assert 'No search in' in capsys.readouterr().err
    for arguments, message in [
        ([], 'give --search, --network, or both'),
        (['--network', 'plain'], '--network plain: give its name and the work directories'),
        (['--network', 'a', 'x', '--network', 'a', 'y'], '--network a is there twice'),
        (['--network', 'a', tmp_path / 'nowhere'], 'No work_dir at'),
        (['--network', 'a', tmp_path], 'No log in'),
        (['--search', tmp_path, '--out', tmp_path / 'r.pdf'], 'a report is a .html file'),
    ]:
        assert run('report.py', '--out', tmp_path / 'r.html', *arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('r.*'))
