"""The names that ``from mmhoga import ...`` offers, and the cost of importing the package."""

import subprocess
import sys

import pytest

import mmhoga

NAMES = ['HOGA', 'SearchableHOGA', 'Attention', 'Genotype', 'AttentionOperation', 'register_primitive', 'fuse']


@pytest.mark.parametrize('name', NAMES)
def test_every_name_is_exported_and_documented_with_an_example(name):
    value = getattr(mmhoga, name)
    assert name in mmhoga.__all__ and name in dir(mmhoga)
    assert '>>> ' in value.__doc__


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="'mmhoga' has no attribute 'Hoga'"):
        _ = mmhoga.Hoga


def test_importing_the_package_loads_neither_torch_nor_a_host():
    code = (
        'import sys; before = set(sys.modules); import mmhoga; '
        "print([name for name in ('torch', 'mmengine', 'mmcv', 'numpy') if name in set(sys.modules) - before])"
    )
    result = subprocess.run([sys.executable, '-S', '-c', code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == '[]', result.stderr
