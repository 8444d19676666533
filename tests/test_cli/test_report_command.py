"""tools/analysis_tools/report.py."""

import runpy
import sys

import pytest


@pytest.fixture
def run(root, monkeypatch):
    def call(*arguments):
        path = root / 'tools' / 'analysis_tools' / 'report.py'
        monkeypatch.setattr(sys, 'argv', [str(path), *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            runpy.run_path(str(path), run_name='__main__')
        return exit_.value.code

    return call


def test_report(run, tmp_path, search_dir, write_run, capsys):
    out = tmp_path / 'r.html'
    arguments = ['--search', search_dir, '--network', 'plain', write_run('a', 0), write_run('a', 1)]
    assert run(*arguments, '--split', 'test', '--out', out) == 0
    assert 'test accuracy' in out.read_text()
    assert capsys.readouterr().out.split() == [str(out.with_suffix('.json')), str(out)]


def test_report_explains_bad_input(run, tmp_path, capsys):
    assert run('--search', tmp_path, '--out', tmp_path / 'r.html') == 2
    assert 'No search in' in capsys.readouterr().err
    for arguments, message in [
        ([], 'give --search, --network, or both'),
        (['--network', 'plain'], '--network plain: give its name and the work directories'),
        (['--network', 'a', 'x', '--network', 'a', 'y'], '--network a is there twice'),
        (['--network', 'a', tmp_path / 'nowhere'], 'No work_dir at'),
        (['--network', 'a', tmp_path], 'No log in'),
        (['--search', tmp_path, '--out', tmp_path / 'r.pdf'], 'a report is a .html file'),
    ]:
        assert run('--out', tmp_path / 'r.html', *arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('r.*'))
