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

# Room -> what its files may import, besides the standard library, numpy and each other. A file may be a room of
# its own.
MAY_IMPORT = {
    'mmhoga': {'mmhoga.compat', 'mmhoga.version'},
    'mmhoga.version': set(),
    'mmhoga.compat': {'torch', 'torchvision', 'mmengine'},
    'mmhoga.files': set(),
    'mmhoga.paper': set(),  # numbers
    'mmhoga.genotype': {'mmhoga.files'},
    'mmhoga.registry': {'mmengine', 'mmhoga.compat'},
    'mmhoga.models': {'torch', 'mmengine', 'mmhoga.registry', 'mmhoga.genotype'},
    'mmhoga.models.layers': {'torch'},
    'mmhoga.models.operations': {'torch', 'mmhoga.models.kernels', 'mmhoga.models.layers'},
    'mmhoga.models.primitives': {'torch', 'mmhoga.genotype', 'mmhoga.models.operations'},
    'mmhoga.models.packing': {'torch'},
    'mmhoga.models.kernels': {'torch'},
    'mmhoga.models.fused': {
        'torch',
        'mmhoga.models.layers',
        'mmhoga.models.operations',
        'mmhoga.models.packing',
        'mmhoga.models.kernels',
    },
    'mmhoga.models.recognition': {'torch', 'mmhoga.genotype', 'mmhoga.models.operations'},
    'mmhoga.models.folding': {'torch', 'mmhoga.models.layers'},
    'mmhoga.models.loading': {'torch', 'mmengine', 'mmhoga.models.recognition'},
    'mmhoga.models.hoga': {
        'torch',
        'mmengine',
        'mmhoga.registry',
        'mmhoga.genotype',
        'mmhoga.models.layers',
        'mmhoga.models.operations',
        'mmhoga.models.primitives',
        'mmhoga.models.folding',
        'mmhoga.models.loading',
    },
    'mmhoga.models.attention': {'torch', 'timm', 'mmengine', 'mmhoga.registry'},
    'mmhoga.models.augmented': {'torch', 'mmengine', 'mmhoga.registry'},
    'mmhoga.backbones': {
        'torch',
        'mmengine',
        'mmcv',
        'mmpretrain',
        'mmhoga.registry',
        'mmhoga.compat',
        'mmhoga.models.loading',  # warns of checkpoints that lack what the model has
    },
    'mmhoga.search': {
        'torch',
        'mmengine',
        'mmhoga.registry',
        'mmhoga.genotype',
        'mmhoga.models',
        'mmhoga.files',
        'mmhoga.version',
        'mmhoga.analysis.complexity',  # what an operation costs
        'mmhoga.analysis.hooks',
    },
    'mmhoga.search.bilevel': {'torch'},
    'mmhoga.search.watch': set(),
    'mmhoga.search.latency': {'torch', 'mmhoga.files'},
    'mmhoga.datasets': {'mmengine', 'mmpretrain', 'sklearn', 'cv2', 'mmhoga.registry'},
    'mmhoga.analysis': {
        'torch',
        'matplotlib',
        'sklearn',
        'mmengine',
        'mmhoga.genotype',
        'mmhoga.files',
        'mmhoga.version',
    },
    # What a gate is, only HOGA itself can say.
    'mmhoga.analysis.attention_maps': {
        'torch',
        'mmhoga.genotype',
        'mmhoga.models.hoga',
        'mmhoga.analysis.hooks',
    },
    'mmhoga.analysis.attention_figure': {'torch', 'matplotlib', 'mmhoga.analysis'},
    'mmhoga.analysis.hooks': {'torch'},
    'mmhoga.deploy': {
        'torch',
        'onnxruntime',
        'onnxscript',
        'mmhoga.files',
        'mmhoga.models.folding',
        'mmhoga.models.hoga',  # it knows best how to fuse itself
    },
    'mmhoga.interop': {
        'torch',
        'mmhoga.genotype',
        'mmhoga.models.hoga',  # how our keys are spelled
    },
    'mmhoga.launch': {'torch', 'mmengine', 'cv2', 'yaml', *HOSTS, 'mmhoga'},  # what tools/ would otherwise hold
    'mmhoga.demo': {'mmengine', 'mmhoga.analysis', 'mmhoga.launch', 'mmhoga.genotype', 'mmhoga.files'},
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


@pytest.mark.parametrize('leaf', ['mmhoga.genotype', 'mmhoga.files', 'mmhoga.paper', 'mmhoga.version'])
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
