"""The paper's tables as data: each row, what it reports, and the config that reproduces it.

The numbers are those that the paper prints, with its slips: plain WRN-18 has its error in the column of parameters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Args:
        model: as we call it.
        config: its path, from the root of the repository.
        result: the paper's, as printed; empty where the paper has none.
        params: in millions; None where the paper has none.
        macs: in billions (the paper's FLOPS); None where the paper has none.
    """

    model: str
    config: str
    result: str = ''
    params: float | None = None
    macs: float | None = None

    @property
    def name(self) -> str:
        """The config's name, which is also that of its work directory."""
        return PurePosixPath(self.config).stem

    @property
    def folder(self) -> str:
        """The folder of the config, from the root of the repository."""
        return str(PurePosixPath(self.config).parent)

    @property
    def command(self) -> str:
        """What trains it, on as many GPUs as the config's name says."""
        found = re.search(r'[_-](\d+)xb\d+', self.name)
        gpus = int(found[1]) if found else 8  # a name with "1x" or "2x" is mmdet's, of 8 GPUs
        return f'python tools/train.py {self.config}' if gpus == 1 else f'tools/dist_train.sh {self.config} {gpus}'


@dataclass(frozen=True)
class Table:
    """A table of the paper, or configs that belong together.

    Args:
        number: the paper's; empty for what has none.
        title: what it compares.
        dataset: as OpenMMLab's model index calls it.
        metric: what ``result`` of the rows is.
        shape: height and width that costs are counted at.
        rows: in the paper's order.
    """

    number: str
    title: str
    dataset: str
    metric: str
    shape: tuple[int, int]
    rows: tuple[Row, ...]

    @property
    def heading(self) -> str:
        """``Table 1: ...``, or the title alone."""
        return f'Table {self.number}: {self.title}' if self.number else self.title


PREFIXES = ('', 'se-', 'cbam-', 'hoga-')
SUFFIXES = ('', ' + SE', ' + CBAM', ' + HOGA')
INFIXES = ('', '-se', '-cbam', '-hoga')


def _four(model: str, config: str, *printed: tuple) -> tuple[Row, ...]:
    """A network plain, with SE, CBAM and HOGA; ``{}`` in ``config`` is where the attention's prefix goes."""
    return tuple(
        Row(model + suffix, f'configs/{config.format(prefix)}.py', *numbers)
        for suffix, prefix, numbers in zip(SUFFIXES, PREFIXES, printed)
    )


def _four_hosts(model: str, config: str, attentions: tuple[str, ...], results: tuple[str, ...]) -> tuple[Row, ...]:
    return tuple(
        Row(model + suffix, f'configs/{config.format(attention)}.py', result)
        for suffix, attention, result in zip(SUFFIXES, attentions, results)
    )


def _imagenet(network: str) -> str:
    return f'imagenet/{{}}{network}_8xb32_in1k'


def _cifar10(network: str) -> str:
    return f'cifar10/{{}}{network}_1xb256-500e_cifar10'


def _cifar100(network: str) -> str:
    return f'cifar100/{{}}{network}-w64_1xb128-500e_cifar100'


def _fair(depth: int, *printed: tuple) -> tuple[Row, ...]:
    """One half of Table 6."""
    net, name = f'resnet{depth}', f'ResNet-{depth}'
    kinds = (
        (f'{name} + SE', f'se-{net}'),
        (f'{name} + CBAM', f'cbam-{net}'),
        (f'{name}, width 18 + SE', f'se-{net}-w18'),
        (f'{name}, width 18 + CBAM', f'cbam-{net}-w18'),
        (f'{name} + HOG_SE (K = 4)', f'hog-se-{net}'),
        (f'{name} + HOG_CBAM (K = 4)', f'hog-cbam-{net}'),
        (f'{name} + HOGA (K = 2)', f'hoga-k2-{net}'),
        (f'{name} + HOGA searched on ResNet-56', f'hoga-from56-{net}'),
        (f'{name} + random HOGA', f'hoga-random-{net}'),
        (f'{name} + HOGA (K = 4)', f'hoga-{net}'),
    )
    return tuple(
        Row(model, f'configs/cifar10/{config}_1xb256-500e_cifar10.py', *numbers)
        for (model, config), numbers in zip(kinds, printed)
    )


TABLES = (
    Table(
        '1',
        'CIFAR-10',
        'CIFAR-10',
        'top-1 accuracy, %',
        (32, 32),
        (
            *_four(
                'ResNet-20',
                _cifar10('resnet20'),
                ('91.95', 0.27, 0.04),
                ('92.30', 0.29, 0.04),
                ('92.81', 0.30, 0.04),
                ('93.38', 0.34, 0.05),
            ),
            *_four(
                'ResNet-32',
                _cifar10('resnet32'),
                ('92.55', 0.46, 0.07),
                ('93.16', 0.49, 0.07),
                ('93.47', 0.49, 0.07),
                ('94.33', 0.51, 0.09),
            ),
            *_four(
                'ResNet-56',
                _cifar10('resnet56'),
                ('93.03', 0.85, 0.13),
                ('94.02', 0.90, 0.13),
                ('94.10', 0.92, 0.13),
                ('94.78', 1.04, 0.16),
            ),
        ),
    ),
    Table(
        '2',
        'CIFAR-100, width 64',
        'CIFAR-100',
        'top-1 accuracy, %',
        (32, 32),
        (
            *_four(
                'ResNet-20, width 64',
                _cifar100('resnet20'),
                ('75.42', 4.07, 0.65),
                ('76.84', 4.13, 0.65),
                ('76.93', 4.14, 0.67),
                ('77.85', 5.23, 0.71),
            ),
            *_four(
                'ResNet-32, width 64',
                _cifar100('resnet32'),
                ('75.72', 6.85, 1.10),
                ('77.81', 6.97, 1.10),
                ('78.01', 7.01, 1.10),
                ('78.57', 8.91, 1.30),
            ),
            *_four(
                'ResNet-56, width 64',
                _cifar100('resnet56'),
                ('77.56', 12.41, 2.01),
                ('79.05', 13.84, 2.01),
                ('79.07', 13.85, 2.02),
                ('79.59', 14.48, 2.37),
            ),
        ),
    ),
    Table(
        '3',
        'ResNeXt and PNAS on CIFAR-10',
        'CIFAR-10',
        'top-1 accuracy, %',
        (32, 32),
        (
            *_four(
                'ResNeXt-29, 8x4d',
                _cifar10('resnext29-8x4d'),
                ('94.76', 1.71, 0.28),
                ('95.22', 2.23, 0.30),
                ('95.31', 2.24, 0.31),
                ('95.67', 2.35, 0.41),
            ),
            *_four(
                'PNAS cells',
                _cifar10('pnas-w40'),
                ('93.34', 0.72, 0.08),
                ('93.71', 0.75, 0.08),
                ('93.79', 0.76, 0.08),
                ('94.10', 0.91, 0.11),
            ),
        ),
    ),
    Table(
        '4',
        'ImageNet',
        'ImageNet-1k',
        'top-1 error, %',
        (224, 224),
        (
            *_four(
                'ResNet-18',
                _imagenet('resnet18'),
                ('29.60', 11.69, 1.81),
                ('29.41', 11.78, 1.82),
                ('29.27', 12.01, 1.82),
                ('27.90', 13.51, 2.10),
            ),
            *_four(
                'WRN-18, width 1.5',
                _imagenet('wide-resnet18'),
                ('26.85', 26.85, 3.87),
                ('26.21', 26.07, 3.87),
                ('26.10', 26.08, 3.89),
                ('25.02', 29.76, 4.55),
            ),
            *_four(
                'ResNet-34',
                _imagenet('resnet34'),
                ('26.69', 21.80, 3.67),
                ('26.13', 21.96, 3.67),
                ('25.99', 21.96, 3.67),
                ('24.65', 24.63, 4.29),
            ),
            *_four(
                'ResNet-50',
                _imagenet('resnet50'),
                ('24.56', 25.56, 4.11),
                ('23.14', 28.09, 4.12),
                ('22.66', 28.09, 4.12),
                ('21.82', 29.39, 4.73),
            ),
            *_four(
                'ResNet-101',
                _imagenet('resnet101'),
                ('23.38', 44.55, 7.57),
                ('22.35', 49.33, 7.58),
                ('21.51', 49.33, 7.58),
                ('20.95', 51.81, 8.94),
            ),
        ),
    ),
    Table(
        '5',
        'other attentions on ImageNet',
        'ImageNet-1k',
        'top-1 error, %',
        (224, 224),
        (
            Row('ResNet-50 + GENet', 'configs/imagenet/ge-resnet50_8xb32_in1k.py', '22.00', 31.20, 3.87),
            Row('ResNet-50 + AugAtt', 'configs/imagenet/augatt-resnet50_8xb32_in1k.py', '22.30', 24.30, 7.90),
            Row('ResNet-50 + GCNet', 'configs/imagenet/gc-resnet50_8xb32_in1k.py', '22.30', 28.08, 3.87),
            Row('ResNet-50 + HOGA', 'configs/imagenet/hoga-resnet50_8xb32_in1k.py', '21.82', 29.39, 4.73),
        ),
    ),
    Table(
        '6',
        'equal costs, and ablations, on CIFAR-10',
        'CIFAR-10',
        'top-1 accuracy, %',
        (32, 32),
        (
            *_fair(
                20,
                ('92.30', 0.29, 0.04),
                ('92.81', 0.30, 0.04),
                ('93.16', 0.36, 0.05),
                ('93.13', 0.37, 0.05),
                ('92.87', 0.32, 0.05),
                ('93.07', 0.35, 0.05),
                ('93.18', 0.33, 0.05),
                ('93.31', 0.35, 0.05),
                ('93.28', 0.35, 0.05),
                ('93.38', 0.34, 0.05),
            ),
            *_fair(
                32,
                ('93.16', 0.49, 0.07),
                ('93.47', 0.49, 0.07),
                ('94.08', 0.62, 0.09),
                ('93.92', 0.63, 0.09),
                ('93.62', 0.54, 0.09),
                ('93.72', 0.56, 0.09),
                ('93.81', 0.49, 0.09),
                ('94.18', 0.57, 0.09),
                ('94.15', 0.59, 0.09),
                ('94.33', 0.52, 0.09),
            ),
        ),
    ),
    Table(
        '7',
        'SSD on COCO',
        'COCO',
        'box AP',
        (300, 300),
        _four_hosts(
            'SSD300, ResNet-50',
            'detection/ssd300_r50{}_4xb32-65e_coco',
            INFIXES,
            ('25.01', '26.05', '26.63', '27.78'),
        ),
    ),
    Table(
        '7',
        'Faster R-CNN with FPN on COCO',
        'COCO',
        'box AP',
        (800, 1333),
        _four_hosts(
            'Faster R-CNN, ResNet-50-FPN',
            'detection/faster-rcnn_r50{}_fpn_4xb2-14e_coco',
            INFIXES,
            ('36.03', '36.47', '36.55', '37.21'),
        ),
    ),
    Table(
        '8',
        'keypoints on COCO',
        'COCO',
        'keypoint AP',
        (256, 192),
        _four_hosts(
            'SimpleBaseline, ResNet-50',
            'pose/td-hm_{}res50_dark-4xb32-140e_coco-256x192',
            PREFIXES,
            ('72.8', '73.6', '73.6', '74.6'),
        ),
    ),
    Table(
        '',
        'Other detectors with HOGA',
        'COCO',
        'box AP',
        (800, 1333),
        (
            Row('Mask R-CNN, ResNet-50-FPN + HOGA', 'configs/detection/mask-rcnn_r50-hoga_fpn_1x_coco.py'),
            Row('RetinaNet, ResNet-50-FPN + HOGA', 'configs/detection/retinanet_r50-hoga_fpn_1x_coco.py'),
        ),
    ),
    Table(
        '',
        'The search (section 4.2)',
        'CIFAR-10',
        'genotype',
        (32, 32),
        tuple(
            Row(
                f'ResNet-{depth}, K = {k}',
                f'configs/search/hoga-search{"" if k == 4 else f"-k{k}"}_resnet{depth}_1xb128-100e_cifar10.py',
                'Fig. 3, here `autola`' if (depth, k) == (20, 4) else '',
            )
            for depth in (20, 56)
            for k in (4, 2, 8)
        ),
    ),
    Table(
        '',
        'The search at a size for a CPU',
        'scikit-learn digits',
        'genotype',
        (8, 8),
        (Row('ResNet-8, K = 4', 'configs/search/hoga-search_resnet8_1xb64-8e_digits.py'),),
    ),
    Table(
        '',
        'Handwritten digits',
        'scikit-learn digits',
        'top-1 accuracy, %',
        (8, 8),
        _four('ResNet-8', 'digits/{}resnet8_1xb96-8e_digits', (), (), (), ()),
    ),
)


def rows() -> Iterator[tuple[Table, Row]]:
    """Each config once, with the first table that it is in."""
    seen = set()
    for table in TABLES:
        for row in table.rows:
            if row.config not in seen:
                seen.add(row.config)
                yield table, row
