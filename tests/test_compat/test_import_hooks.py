"""The stand-in is used only without a compiled module. Each case needs a new interpreter."""

import subprocess
import sys

import pytest

from mmhoga.compat import require_mmcv


def run(code):
    return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)


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
        'from mmhoga.compat import install_stand_in, repair_ssd_head\n'
        'install_stand_in()\n'
        'repair_ssd_head()\n'
        'names = [type(finder).__name__ for finder in sys.meta_path]\n'
        'print(names.count("_StandInFinder"), names.count("_RepairingFinder"), names[-1])\n'
        'print(sys.meta_path[-1].find_spec("mmcv.ops"), sys.meta_path[-1].find_spec("_ext"))'
    )
    assert result.stdout.split() == ['1', '1', '_StandInFinder', 'None', 'None'], result.stderr


def test_without_any_mmcv_the_error_names_both_distributions(monkeypatch):
    require_mmcv()
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    with pytest.raises(ImportError, match=r'pip install mmcv-lite(.|\n)*mim install'):
        require_mmcv()
