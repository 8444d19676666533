"""``mmhoga report``."""

from made_up_runs import search_dir, write_run  # noqa: F401

from mmhoga.cli.report import report_main


def call(*arguments):
    return report_main([str(argument) for argument in arguments])


def test_report(tmp_path, search_dir, write_run, capsys):  # noqa: F811
    out = tmp_path / 'r.html'
    arguments = ['--search', search_dir, '--network', 'plain', write_run('a', 0), write_run('a', 1)]
    assert call(*arguments, '--split', 'test', '--out', out) == 0
    assert 'test accuracy' in out.read_text()
    assert capsys.readouterr().out.split() == [str(out.with_suffix('.json')), str(out)]


def test_report_explains_bad_input(tmp_path, capsys):
    assert call('--search', tmp_path, '--out', tmp_path / 'r.html') == 2
    assert 'No search in' in capsys.readouterr().err
    for arguments, message in [
        ([], 'give --search, --network, or both'),
        (['--network', 'plain'], '--network plain: give its name and the work directories'),
        (['--network', 'a', 'x', '--network', 'a', 'y'], '--network a is given twice'),
        (['--network', 'a', tmp_path / 'nowhere'], 'No work_dir at'),
        (['--network', 'a', tmp_path], 'No log in'),
        (['--search', tmp_path, '--out', tmp_path / 'r.pdf'], 'a report is a .html file'),
    ]:
        assert call('--out', tmp_path / 'r.html', *arguments) == 2
        assert message in capsys.readouterr().err
    assert not list(tmp_path.glob('r.*'))
