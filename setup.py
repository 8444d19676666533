"""Packaging of mmhoga. Settings of the tools are in ``pyproject.toml``, the pins of ``.venv`` in ``requirements/``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ('configs', 'tools', 'model-index.yml')


class BuildWithMim(build_py):
    """Put configs and tools into ``mmhoga/.mim``, where OpenMMLab's installer ``mim`` looks for them.

    A wheel gets copies. An editable install gets symbolic links in the source tree, so that an edited config is
    the one used.
    """

    def run(self):
        super().run()
        target = (ROOT if self.editable_mode else Path(self.build_lib)) / 'mmhoga' / '.mim'
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SHIPPED:
            source = ROOT / name
            if not source.exists():
                continue
            if self.editable_mode:
                (target / name).symlink_to(Path('..', '..', name), target_is_directory=source.is_dir())
            elif source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy2(source, target / name)


# mmengine 0.10 resolves a base such as 'mmdet::...' with pkg_resources, which setuptools 81 no longer has.
BASES = 'setuptools<81'

# An upper bound only where a newer release is known not to work.
EXTRAS = {
    'cls': ['mmpretrain>=1.2.0', 'scikit-learn', BASES],
    'det': ['mmdet>=3.3.0', 'torchvision', BASES],
    # mmpose itself is not here: it requires chumpy, which current pip cannot build and nothing of this uses.
    # README.md has the one line that installs mmpose without it. These are the other things mmpose needs.
    'pose': [
        'mmdet>=3.3.0',  # mmpose imports it for one of its heads
        'json_tricks',
        'munkres',
        'numpy<2',  # xtcocotools' wheels are built against numpy 1
        'opencv-python<4.12',  # from 4.12 on, numpy 2
        'scipy',
        'torchvision',
        'xtcocotools>=1.12',
        BASES,
    ],
    'attention': ['timm>=1.0.9,<=1.0.19'],  # GatherExcite cannot be built in 1.0.31
    'analysis': ['jinja2', 'matplotlib', 'scikit-learn'],
    'tensorboard': ['tensorboard'],  # to watch a search there
    'deploy': ['onnx', 'onnxruntime', 'onnxscript'],
    'dev': ['captum', 'hypothesis', 'mypy', 'pytest>=7', 'pytest-timeout', 'pytest-xdist', 'ruff'],
}

setup(
    name='mmhoga',
    version=re.search("__version__ = '(.+)'", (ROOT / 'mmhoga/version.py').read_text()).group(1),
    description='High Order Group Attention and its differentiable search, for OpenMMLab',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author='mmhoga contributors',
    python_requires='>=3.9',
    packages=find_packages(include=['mmhoga', 'mmhoga.*']),
    package_data={'mmhoga': ['py.typed', 'report/templates/*']},
    entry_points={'console_scripts': ['mmhoga = mmhoga.cli.main:main']},
    cmdclass={'build_py': BuildWithMim},
    # Loose, so that nobody's torch is replaced. mmcv is absent on purpose: it comes as mmcv or as mmcv-lite,
    # which exclude each other. mmhoga.backbones says so when there is neither.
    install_requires=['mmengine>=0.10', 'numpy', 'torch'],
    extras_require=EXTRAS,
    zip_safe=False,
)
