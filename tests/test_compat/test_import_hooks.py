"""The stand-in is used only without a compiled module. Each case needs a new interpreter."""

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from mmhoga.compat import require_mmcv


def run(code, *options):
    return subprocess.run([sys.executable, *options, '-c', code], capture_output=True, text=True, check=False)


def test_importing_the_package_loads_no_torch_and_no_host():
    result = run(
        'import sys, mmhoga\n'
        "heavy = 'torch torchvision numpy mmengine mmcv mmdet mmpose mmpretrain timm sklearn'.split()\n"
        'print(sorted(set(heavy) & set(sys.modules)), mmhoga.__version__)'
    )
    assert result.stdout.split()[0] == '[]', result.stdout + result.stderr


@pytest.fixture
def mmcv_with(tmp_path):
    """Run code with a package ``mmcv`` whose compiled module has the given source."""

    def run_with(source, code):
        package = tmp_path / 'mmcv'
        package.mkdir()
        (package / '__init__.py').touch()
        (package / '_ext.py').write_text(source)
        return run(f'import sys; sys.path.insert(0, {str(tmp_path)!r})\nimport mmhoga\n{code}')

    return run_with


def test_a_compiled_module_is_used(mmcv_with):
    result = mmcv_with("origin = 'compiled'", 'import mmcv._ext; print(mmcv._ext.origin, hasattr(mmcv._ext, "nms"))')
    assert result.stdout.split() == ['compiled', 'False'], result.stderr


def test_a_broken_compiled_module_is_not_hidden(mmcv_with):
    result = mmcv_with("raise ImportError('undefined symbol: _ZN2at4_ops')", 'import mmcv._ext')
    assert result.returncode == 1
    assert 'undefined symbol' in result.stderr


def test_the_finders_are_installed_once_and_the_stand_in_is_last():
    result = run(
        'import sys, mmhoga\n'
        'from mmhoga.compat import install_stand_in, protect_checkpoints, repair_ssd_head\n'
        'install_stand_in()\n'
        'repair_ssd_head()\n'
        'protect_checkpoints()\n'
        'names = [type(finder).__name__ for finder in sys.meta_path]\n'
        'print(names.count("_StandInFinder"), names.count("_RepairingFinder"), names[-1])\n'
        'print(sys.meta_path[-1].find_spec("mmcv.ops"), sys.meta_path[-1].find_spec("_ext"))'
    )
    assert result.stdout.split() == ['1', '2', '_StandInFinder', 'None', 'None'], result.stderr


def test_without_any_mmcv_the_error_names_both_distributions(monkeypatch):
    require_mmcv()
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    with pytest.raises(ImportError, match=r'pip install mmcv-lite(.|\n)*mim install'):
        require_mmcv()


@pytest.mark.parametrize('room', ['models', 'insertion', 'search', 'datasets'])
def test_without_mmengine_the_error_names_it_and_the_fork(room):
    """The metadata require neither: pip would install one over the other."""
    result = run(f"import sys; sys.modules['mmengine'] = None\nimport mmhoga.genotype, mmhoga.{room}")
    assert result.returncode == 1
    assert 'pip install mmengine\n' in result.stderr and 'pip install onedl-mmengine' in result.stderr


@pytest.mark.parametrize('first', ['mmhoga', 'mmengine.runner'])
def test_mmengine_reads_checkpoints_safely_whatever_is_imported_first(first):
    """And torch itself is as before: its functions, and its list of what a weights-only load may call.

    Python's option -S leaves out the .pth file of the development environment, which imports mmhoga.
    """
    paths = [str(Path(__file__).resolve().parents[2]), sysconfig.get_path('purelib')]
    result = run(
        f'import sys; sys.path[:0] = {paths}\n'
        "assert 'mmhoga' not in sys.modules\n"
        f'import {first}\n'
        'import torch, torch.distributed.tensor, mmengine.runner.checkpoint as checkpoint\n'  # torch adds to its list
        'allowed = getattr(torch.serialization, "get_safe_globals", list)  # from torch 2.5 on\n'
        'before, load, save = allowed(), torch.load, torch.save\n'
        'import mmhoga.registry, mmhoga.models, mmhoga.backbones, mmhoga.search, mmhoga.cli.export\n'
        'assert set(allowed()) == set(before)\n'
        'assert torch.load is load and torch.save is save and torch.load.__module__ == "torch.serialization"\n'
        'print(checkpoint.torch.load.__module__, checkpoint.load_url.__module__, checkpoint.torch.nn is torch.nn)\n',
        '-S',
    )
    module = 'mmhoga.compat.checkpoint.host_files'
    assert result.stdout.split() == [module, module, 'True'], result.stderr
