"""Packaging. The settings of tools are in ``pyproject.toml``, the pins of ``.venv`` in ``requirements/``."""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
SHIPPED = ('configs', 'tools')


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
                (target / name).symlink_to(Path('..', '..', name), target_is_directory=True)
            else:
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns('__pycache__'))


# mmengine 0.10 resolves a base such as 'mmdet::...' with pkg_resources, which setuptools 81 no longer has.
BASES = 'setuptools<81'

# The extras that bring a host of OpenMMLab bring its mmengine. The maintained forks have an extra of their own.
MMENGINE = 'mmengine>=0.10'

# An upper bound only where a newer release is known not to work.
EXTRAS = {
    'cls': ['mmpretrain>=1.2.0', MMENGINE, 'scikit-learn', 'torchvision', BASES],
    'det': ['mmdet>=3.3.0', MMENGINE, 'torchvision', BASES],
    # Everything that mmpose needs except chumpy, which current pip cannot build and mmhoga does not use. mmpose itself
    # requires chumpy, so it is installed separately with --no-deps, see README.md.
    'pose': [
        'mmdet>=3.3.0',  # mmpose imports it for one of its heads
        MMENGINE,
        'json_tricks',
        'munkres',
        # xtcocotools has wheels up to Python 3.11, built against numpy 1. For Python 3.12 it is built separately, see
        # docs/faq.md.
        'numpy<2; python_version < "3.12"',
        'opencv-python<4.12; python_version < "3.12"',  # from 4.12 on, numpy 2
        'scipy',
        'torchvision',
        'xtcocotools>=1.12; python_version < "3.12"',
        BASES,
    ],
    'onedl': [
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmdetection>=3.5.1',
        'onedl-mmpretrain>=1.3.6',
        'scikit-learn',
        'torchvision',
    ],
    'attention': ['timm>=1.0.9,<=1.0.19'],  # GatherExcite cannot be built in 1.0.31
    'analysis': ['jinja2', 'matplotlib', 'scikit-learn'],
    'study': ['optuna>=4'],
    'tensorboard': ['tensorboard'],  # to watch a search there
    'deploy': ['onnx', 'onnxruntime', 'onnxscript'],
    'docs': ['furo', 'myst-parser', 'sphinx>=7.2', 'sphinx-copybutton'],
    'dev': ['captum', 'coverage>=7.10', 'hypothesis', 'mypy', 'pytest>=7', 'pytest-timeout', 'pytest-xdist', 'ruff'],
}

# Address of the repository, such as 'https://github.com/OWNER/mmhoga'. Set it when the repository becomes public: the
# URLs of the metadata and the links of README.md on the package index and on the documentation site follow from it.
PROJECT_URL = ''
PAPER_URL = 'https://proceedings.neurips.cc/paper_files/paper/2020/hash/103303dd56a731e377d01f6a37badae3-Abstract.html'


def long_description() -> str:
    """README.md for the package index, where relative links lead nowhere.

    They become absolute. Without ``PROJECT_URL``, links become plain text and pictures are left out.
    """

    def link(match: re.Match) -> str:
        picture, label, target = match.groups()
        if '://' in target or target.startswith('#'):
            return match[0]
        if PROJECT_URL:
            return f'{picture}[{label}]({PROJECT_URL}/{"raw" if picture else "blob"}/main/{target})'
        return '' if picture else label

    return re.sub(r'(!?)\[([^\]]*)\]\(([^)\s]+)\)', link, (ROOT / 'README.md').read_text(encoding='utf-8'))


def project_urls() -> dict[str, str]:
    """The links beside the description on the package index."""
    urls = {'Paper': PAPER_URL}
    if PROJECT_URL:
        urls['Source'] = PROJECT_URL
        urls['Issues'] = f'{PROJECT_URL}/issues'
        urls['Documentation'] = f'{PROJECT_URL}/blob/main/docs/index.md'
        urls['Changelog'] = f'{PROJECT_URL}/blob/main/CHANGELOG.md'
    return urls


setup(
    name='mmhoga',
    version=re.search("__version__ = '(.+)'", (ROOT / 'mmhoga/version.py').read_text()).group(1),
    description='High Order Group Attention and its differentiable search, for OpenMMLab and PyTorch',
    long_description=long_description(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    author='mmhoga contributors',
    url=PROJECT_URL or None,
    project_urls=project_urls(),
    keywords=['attention', 'neural architecture search', 'OpenMMLab', 'PyTorch', 'object detection', 'pose estimation'],
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: OS Independent',
        *(f'Programming Language :: Python :: 3.{minor}' for minor in range(9, 14)),
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
        'Topic :: Scientific/Engineering :: Image Recognition',
        'Typing :: Typed',
    ],
    python_requires='>=3.9',
    packages=find_packages(include=['mmhoga', 'mmhoga.*']),
    package_data={'mmhoga': ['py.typed', 'report/templates/*']},
    entry_points={'console_scripts': ['mmhoga = mmhoga.cli.main:main']},
    cmdclass={'build_py': BuildWithMim},
    # Loose, so that pip does not replace an installed torch. mmengine and mmcv are absent on purpose: each has several
    # distributions with the same files (mmengine and onedl-mmengine; mmcv, mmcv-lite and onedl-mmcv), and pip would
    # install one over the other. Without them, importing mmhoga.models or mmhoga.backbones names the command to run.
    install_requires=['numpy', 'safetensors>=0.4', 'torch>=2.0'],
    extras_require=EXTRAS,
    zip_safe=False,
)
