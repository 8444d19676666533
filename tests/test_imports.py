"""Imports point one way: down the table of rooms. A new room, or a new way between rooms, needs a line in it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.version_info < (3, 10), reason='Python 3.9 cannot list its standard library')

PACKAGE = Path(__file__).resolve().parent.parent / 'mmhoga'

HOSTS = {'mmdet', 'mmpose', 'mmpretrain'}
STANDARD = getattr(sys, 'stdlib_module_names', frozenset())

# Room -> what its files may import, besides the standard library, numpy and each other. A file may be a room.
# The order is the order of dependence: a room imports rooms above it in this table.
MAY_IMPORT = {
    'mmhoga.version': set(),
    'mmhoga.files': set(),
    'mmhoga.genotype': {'mmhoga.files'},
    'mmhoga.compat': {'torch', 'torchvision', 'mmengine', 'safetensors'},
    'mmhoga.host_resnets': {'mmengine'},
    'mmhoga.hosts': {
        'torch',
        'mmengine',
        'mmhoga.compat',
        'mmhoga.files',
        'mmhoga.genotype',
        'mmhoga.host_resnets',
    },
    'mmhoga.registry': {'mmengine', 'mmhoga.compat'},
    'mmhoga': {'mmhoga.compat', 'mmhoga.version'},
    'mmhoga.models': {'torch', 'timm', 'mmengine', 'mmhoga.compat', 'mmhoga.registry', 'mmhoga.genotype'},
    'mmhoga.models.hooks': {'torch'},
    'mmhoga.models.complexity': {'torch', 'mmengine', 'mmhoga.models.hooks'},
    'mmhoga.models.fast': {'torch', 'mmhoga.genotype', 'mmhoga.models.operations'},
    'mmhoga.models.fast.kernels': {'torch'},
    'mmhoga.models.fast.triton': {'torch', 'triton', 'mmhoga.models.fast.kernels'},
    'mmhoga.models.norms': {'torch', 'mmengine', 'mmhoga.registry', 'mmhoga.models.fast.kernels'},
    'mmhoga.models.operations': {'torch', 'mmhoga.models.fast.kernels', 'mmhoga.models.norms'},
    'mmhoga.insertion': {
        'torch',
        'mmengine',
        'safetensors',
        'mmhoga.compat',
        'mmhoga.registry',
        'mmhoga.genotype',
        'mmhoga.models',
        'mmhoga.files',
        'mmhoga.version',
    },
    'mmhoga.backbones': {
        'torch',
        'mmengine',
        'mmcv',
        'mmpretrain',
        'mmhoga.registry',
        'mmhoga.compat',
        'mmhoga.host_resnets',
        'mmhoga.models',
    },
    'mmhoga.datasets': {'mmengine', 'mmpretrain', 'sklearn', 'cv2', 'mmhoga.compat', 'mmhoga.registry'},
    'mmhoga.search': {
        'torch',
        'mmengine',
        'mmhoga.compat',
        'mmhoga.registry',
        'mmhoga.genotype',
        'mmhoga.models',
        'mmhoga.insertion',
        'mmhoga.files',
        'mmhoga.version',
    },
    'mmhoga.search.bilevel': {'torch'},
    'mmhoga.interop': {'torch', 'mmhoga.genotype', 'mmhoga.models'},
    'mmhoga.deploy': {'torch', 'torchvision', 'onnxruntime', 'onnxscript', 'mmhoga.files', 'mmhoga.models'},
    'mmhoga.look': {'torch', 'sklearn', 'mmengine', 'mmhoga.genotype', 'mmhoga.models'},
    'mmhoga.figures': {'torch', 'matplotlib', 'mmhoga.genotype', 'mmhoga.files', 'mmhoga.look', 'mmhoga.search'},
    'mmhoga.report': {
        'torch',
        'mmengine',
        'jinja2',
        'matplotlib',
        'mmhoga.genotype',
        'mmhoga.files',
        'mmhoga.hosts',
        'mmhoga.version',
        'mmhoga.models',
        'mmhoga.search',
        'mmhoga.figures',
    },
    'mmhoga.studies': {
        'torch',
        'optuna',
        'mmhoga.genotype',
        'mmhoga.files',
        'mmhoga.models',
        'mmhoga.insertion',
        'mmhoga.search',
        'mmhoga.report',
    },
    'mmhoga.cli': {'torch', 'mmengine', 'cv2', 'yaml', 'safetensors', 'optuna', *HOSTS, 'mmhoga'},
    'mmhoga.cli.doctor.checks': {'torch', 'torchvision', 'mmengine', 'mmcv', 'timm', 'mmhoga'},
    'mmhoga.__main__': {'mmhoga.cli'},
}


def module_name(path):
    parts = path.relative_to(PACKAGE.parent).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def within(name, room):
    return name == room or name.startswith(room + '.')


def imported(path):
    """Absolute names of all that a file imports, at its head or inside a function, but for type checkers only."""
    package = module_name(path) if path.name == '__init__.py' else module_name(path).rpartition('.')[0]
    names = set()
    pending = [ast.parse(path.read_text(encoding='utf-8'))]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.unparse(node.test):
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = package.split('.')[: len(package.split('.')) - node.level + 1]
                base = '.'.join([*above, *filter(None, [node.module])])
            names |= {
                f'{base}.{alias.name}' if (PACKAGE.parent / base.replace('.', '/')).is_dir() else base
                for alias in node.names
            }
    return names


def room_of(module):
    return max((room for room in MAY_IMPORT if within(module, room)), key=len)


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=module_name)
def test_who_may_import_whom(path):
    module = module_name(path)
    room = room_of(module)
    assert module == room or room != 'mmhoga', f'{module} belongs to no room: add it to MAY_IMPORT'
    allowed = MAY_IMPORT[room] | {'numpy'}
    if room != 'mmhoga':
        allowed |= {room}
    for name in sorted(imported(path)):
        if name.partition('.')[0] not in STANDARD:
            assert any(within(name, other) for other in allowed), (
                f'{module} may not import {name}, but: {sorted(allowed)}'
            )


def test_rooms_import_in_one_direction():
    """The table itself has no circle."""
    below = {
        room: {name for name in names if name in MAY_IMPORT and name != 'mmhoga'} for room, names in MAY_IMPORT.items()
    }
    while leaves := {room for room, names in below.items() if not names}:
        below = {room: names - leaves for room, names in below.items() if room not in leaves}
    assert not below


@pytest.mark.parametrize('leaf', ['mmhoga.genotype', 'mmhoga.files', 'mmhoga.version'])
def test_leaves_use_the_standard_library_only(leaf):
    path = PACKAGE.parent / (leaf.replace('.', '/') + '.py')
    outside = {name.partition('.')[0] for name in imported(path)} - STANDARD - {'mmhoga'}
    assert not outside


def test_the_parser_sees_relative_and_nested_imports(tmp_path, monkeypatch):
    package = tmp_path / 'mmhoga'
    (package / 'models').mkdir(parents=True)
    file = package / 'models' / 'x.py'
    file.write_text(
        'from __future__ import annotations\n'
        'from typing import TYPE_CHECKING\n'
        'from . import hoga\n'
        'from ..genotype import Genotype\n'
        'from mmhoga import search\n'
        'if TYPE_CHECKING:\n'
        '    import mmdet\n'
        'def f():\n'
        '    import mmpose.models\n'
    )
    monkeypatch.setattr(sys.modules[__name__], 'PACKAGE', package)
    assert imported(file) == {
        '__future__',
        'typing',
        'mmhoga.models.hoga',
        'mmhoga.genotype',
        'mmhoga.search',
        'mmpose.models',
    }


@pytest.mark.parametrize('rooms', ['mmhoga.models, mmhoga.backbones', 'mmhoga.search', 'mmhoga.interop'])
def test_rooms_import_without_any_host(rooms):
    """A detection user needs neither mmpretrain nor mmpose, a pose user no mmdet; timm and torchvision only on use."""
    code = (
        'import sys\n'
        "for name in ('mmdet', 'mmpose', 'mmpretrain', 'timm', 'sklearn', 'torchvision'):\n"
        '    sys.modules[name] = None\n'
        f'import {rooms}\n'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
