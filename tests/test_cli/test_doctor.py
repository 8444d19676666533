"""``mmhoga doctor`` with and without parts of the installation."""

import json
import subprocess
import sys

import pytest

from mmhoga.cli import doctor
from mmhoga.cli.doctor import USES, doctor_main


@pytest.fixture(autouse=True)
def few_imports(monkeypatch):
    """Do not import the hosts in this process."""
    monkeypatch.setattr(doctor, 'USES', {'figures and reports': USES['figures and reports']})


def test_report(capsys):
    assert doctor_main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith('torch ') for line in lines)
    assert any(line.startswith('mmcv operations ') for line in lines)
    assert any(line.startswith('ok      HOGA') and 'forward and backward' in line for line in lines)


def test_json(capsys):
    assert doctor_main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['versions']['python'] == '.'.join(map(str, sys.version_info[:3]))
    assert [check['name'] for check in report['checks']] == ['torch', 'HOGA', 'figures and reports']


def test_something_optional_is_missing(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert doctor_main([]) == 0
    out = capsys.readouterr().out
    assert 'MISSING figures and reports' in out and "pip install 'mmhoga[analysis]'" in out


def test_something_essential_is_broken(capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError('no kernel image\nis available')

    monkeypatch.setattr('mmhoga.models.hoga.HOGA.forward', broken)
    assert doctor_main([]) == 1
    assert 'RuntimeError: no kernel image is available' in capsys.readouterr().out


def test_without_torch():
    """The command itself needs only the standard library."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'mmengine', 'mmcv']))\n"
        "from mmhoga.cli.main import main; sys.exit(main(['doctor']))"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert 'MISSING torch' in result.stdout and 'pip install -U torch' in result.stdout


@pytest.mark.parametrize('use', USES)
def test_every_remedy_installs_something(use):
    modules, remedy = USES[use]
    assert modules and remedy.startswith('pip install ')
