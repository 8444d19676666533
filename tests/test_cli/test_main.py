"""``mmhoga`` and the help of every command."""

import os
import subprocess
import sys
from importlib import import_module

import pytest

from mmhoga.cli.main import COMMANDS, main, usage

ENTRIES = {name: entry for section in COMMANDS.values() for name, entry in section.items()}


def test_the_page_lists_every_command(capsys):
    assert main(['--help']) == 0
    page = capsys.readouterr().out
    assert page.startswith('usage: mmhoga COMMAND')
    assert all(f'\n  {name} ' in page for name in ENTRIES)
    assert max(map(len, page.splitlines())) <= 100


def test_without_a_command(capsys):
    assert main([]) == 2
    assert capsys.readouterr().err.strip() == usage()


def test_version(capsys):
    from mmhoga.version import __version__

    assert main(['--version']) == 0
    assert capsys.readouterr().out == f'mmhoga {__version__}\n'


def test_an_unknown_command(capsys):
    assert main(['trian']) == 2
    assert capsys.readouterr().err == "error: there is no command 'trian'. Did you mean train?\n"
    assert main(['xyz']) == 2
    assert 'mmhoga --help' in capsys.readouterr().err


@pytest.mark.parametrize('name', ENTRIES)
def test_help_of_a_command(name, capsys, monkeypatch):
    """It starts with the program's name, states the purpose in one sentence and ends with an example."""
    monkeypatch.setattr(sys, 'argv', ['__main__.py', name, '--help'])
    with pytest.raises(SystemExit) as error:
        main([name, '--help'])
    assert error.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f'usage: mmhoga {name} ')
    purpose = text.split('\n\n')[1].splitlines()[0]
    assert purpose[0].isupper(), purpose
    assert f'\n  mmhoga {name}' in text, 'an example'


@pytest.mark.parametrize('entry', ENTRIES.values(), ids=list(ENTRIES))
def test_bad_arguments_are_exit_code_2(entry, capsys):
    module, function, _ = entry
    with pytest.raises(SystemExit) as error:
        getattr(import_module(f'mmhoga.cli.{module}'), function)(['--no-such-flag'])
    assert error.value.code == 2
    assert 'error:' in capsys.readouterr().err


def test_python_m(tmp_path):
    result = subprocess.run([sys.executable, '-m', 'mmhoga', 'trian'], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and 'Did you mean train?' in result.stderr


@pytest.mark.parametrize('arguments', [['--help'], ['paper']])
def test_a_reader_that_stops_early(arguments):
    """As in ``mmhoga paper | head``: no traceback, and the exit code of a command that SIGPIPE has ended."""
    command = [sys.executable, '-W', 'ignore', '-m', 'mmhoga', *arguments]
    reader, writer = os.pipe()
    os.close(reader)  # before the command starts, so that no other process of the tests can inherit it
    with os.fdopen(writer, 'w') as output:
        result = subprocess.run(command, stdout=output, stderr=subprocess.PIPE, text=True, check=False)
    assert (result.returncode, result.stderr) == (141, '')
