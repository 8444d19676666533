"""Distributions of the packages that mmhoga builds on, and the commands that install them. Standard library only.

OpenMMLab's packages have maintained forks, named onedl-*, with the same import names. Two distributions of one package
write the same files, so pip installs one over the other without an error. mmhoga therefore requires none of them.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import metadata

#: Package -> the distributions that contain it. At most one may be installed.
DISTRIBUTIONS = {
    'mmengine': ('mmengine', 'mmengine-lite', 'onedl-mmengine'),
    'mmcv': ('mmcv-lite', 'mmcv', 'onedl-mmcv'),
    'mmdet': ('mmdet', 'onedl-mmdetection'),
    'mmpretrain': ('mmpretrain', 'onedl-mmpretrain'),
    'mmpose': ('mmpose',),
}

#: Host -> the command that installs it. mmpose requires chumpy, which cannot be built and is not used.
INSTALL = {
    'mmdet': "pip install 'mmhoga[det]'",
    'mmpretrain': "pip install 'mmhoga[cls]'",
    'mmpose': "pip install 'mmhoga[pose]' && pip install --no-deps 'mmpose>=1.3.2'",
}

#: The same beside the forks, which mmhoga's extras would overwrite.
INSTALL_WITH_FORKS = {
    'mmengine': 'pip install onedl-mmengine',
    'mmcv': 'pip install onedl-mmcv',
    'mmdet': 'pip install onedl-mmdetection',
    'mmpretrain': 'pip install onedl-mmpretrain scikit-learn torchvision',
    'mmpose': "pip install json_tricks munkres scipy xtcocotools && pip install --no-deps 'mmpose>=1.3.2'",
}


def installed(*distributions: str) -> dict[str, str]:
    """The installed ones of the distributions, with their versions."""
    versions = {}
    for name in distributions:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions
