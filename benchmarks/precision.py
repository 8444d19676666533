"""Errors of the cells against float64, by data type, memory format, size, batch, input and mode.

    python benchmarks/precision.py

prints the table of docs/numbers.md. ``--figures`` prints the largest error of each entry instead of its tolerance.
The reference computes Eqs. (2) to (13) in float64 (tests/textbook.py), from the weights and the input as the data type
rounds them.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'tests'))
import textbook

from mmhoga.models import HOGA, SearchableHOGA

CHANNELS = 8
CELLS = {
    'HOGA, autola': lambda channels: HOGA(channels),
    'HOGA, hog_se': lambda channels: HOGA(channels, genotype='hog_se'),
    'HOGA, hog_cbam': lambda channels: HOGA(channels, genotype='hog_cbam'),
    'SearchableHOGA': lambda channels: SearchableHOGA(channels),
}
FORMATS = {'contiguous': torch.contiguous_format, 'channels_last': torch.channels_last}
SIZES = ((1, 1), (5, 7))
BATCHES = (0, 1, 3)
LARGE = (1344, 800)
INPUTS = ('normal', 'constant', '1e4', 'one NaN')
MODES = ('train', 'eval', 'fused')


class Precision(NamedTuple):
    dtype: torch.dtype  # of the weights and the input
    autocast: torch.dtype | None
    tolerance: float  # of the largest error, as a share of the largest output
    trained: float  # the same in training, where a small variance amplifies rounding


PRECISIONS = {
    'float64': Precision(torch.float64, None, 1e-13, 1e-13),
    'float32': Precision(torch.float32, None, 1e-5, 1e-5),
    'autocast, bfloat16': Precision(torch.float32, torch.bfloat16, 0.05, 0.2),
    'autocast, float16': Precision(torch.float32, torch.float16, 0.005, 0.03),
    '.bfloat16()': Precision(torch.bfloat16, None, 0.05, 0.2),
    '.half()': Precision(torch.float16, None, 0.005, 0.03),
}


class Case(NamedTuple):
    cell: str
    precision: str
    memory_format: str
    size: tuple[int, int]
    batch: int
    values: str
    mode: str


def cases() -> Iterator[Case]:
    """All sizes and batches with normal input, and the other inputs at one size, for all types, formats and modes."""
    inputs = [(size, batch, 'normal') for size in SIZES for batch in BATCHES]
    inputs += [(SIZES[-1], BATCHES[-1], values) for values in INPUTS[1:]]
    for cell in CELLS:
        for precision in PRECISIONS:
            for mode in MODES if cell.startswith('HOGA') else MODES[:2]:
                for size, batch, values in inputs:
                    if mode != 'train' or batch != 1 or size != (1, 1):  # torch: one value has no variance
                        for memory_format in FORMATS:
                            yield Case(cell, precision, memory_format, size, batch, values, mode)


def build(name: str, channels: int = CHANNELS, scale: float = 1.0) -> nn.Module:
    """A cell with random weights, and the statistics of an input of this scale."""
    torch.manual_seed(0)
    cell = CELLS[name](channels).double()
    for norm in cell.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = None  # the average of all batches
            if norm.affine:
                nn.init.uniform_(norm.weight, 0.5, 1.5)
                nn.init.normal_(norm.bias, 0, 0.5)
    with torch.no_grad():
        cell(scale * torch.randn(8, channels, 12, 12, dtype=torch.float64))
    for norm in cell.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.1
    return cell


def input_of(case: Case, channels: int = CHANNELS) -> Tensor:
    """The input in float64."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(case.batch, channels, *case.size, generator=generator, dtype=torch.float64)
    if case.values == 'constant':
        x = torch.full_like(x, 0.7)
    elif case.values == '1e4':
        x = 1e4 * x
    elif case.values == 'one NaN':
        x[0, 0, 0, 0] = torch.nan
    return x


@cache
def cell_of(name: str, precision: str, mode: str, scale: float, channels: int) -> nn.Module:
    """The cell in a data type and a mode. In training the outputs do not depend on the running statistics."""
    cell = copy.deepcopy(build(name, channels, scale)).to(PRECISIONS[precision].dtype).train(mode == 'train')
    return cell.fuse() if mode == 'fused' else cell  # type: ignore[operator]


@cache
def reference_of(case: Case, channels: int) -> Tensor:
    """The output by the equations in float64, of a case with the contiguous format and not fused."""
    scale = 1e4 if case.values == '1e4' else 1.0
    cell = copy.deepcopy(cell_of(case.cell, case.precision, case.mode, scale, channels)).double()
    x = input_of(case, channels).to(PRECISIONS[case.precision].dtype).double()
    equations = textbook.hoga if isinstance(cell, HOGA) else textbook.supernet
    return equations(cell, x) if len(x) else x


@torch.no_grad()
def error(case: Case, channels: int = CHANNELS) -> float:
    """The largest difference as a share of the largest output; infinite if other outputs than those wanted are NaN."""
    precision = PRECISIONS[case.precision]
    mode = 'eval' if case.mode == 'fused' else case.mode
    reference = reference_of(case._replace(memory_format='contiguous', mode=mode), channels)
    cell = cell_of(case.cell, case.precision, case.mode, 1e4 if case.values == '1e4' else 1.0, channels)
    x = input_of(case, channels).to(precision.dtype).contiguous(memory_format=FORMATS[case.memory_format])
    with torch.autocast('cpu', precision.autocast) if precision.autocast else nullcontext():
        y = cell(x).double()
    known = ~reference.isnan()
    if y.shape != reference.shape or not torch.equal(known, ~y.isnan()):
        return torch.inf
    if not known.any():  # an empty batch, or NaN in training
        return 0.0
    return ((y - reference)[known].abs().max() / reference[known].abs().max()).item()


def tolerance(case: Case) -> float | None:
    """The tolerance of a case; None where the numbers of the type are too small for it."""
    precision = PRECISIONS[case.precision]
    if case.values == '1e4' and torch.float16 in (precision.dtype, precision.autocast):
        return None
    return precision.trained if case.mode == 'train' else precision.tolerance


def row(values: list[str]) -> str:
    return f'| {" | ".join(values)} |'


def small_table(figures: bool) -> list[str]:
    """Rows: data type and mode; columns: inputs. The largest over cells, memory formats, sizes and batches."""
    found = {case: error(case) for case in cases()}
    lines = [row(['', *INPUTS]), row(['---'] * (1 + len(INPUTS)))]
    for precision in PRECISIONS:
        for mode in MODES:
            own = [{c: e for c, e in found.items() if c[-2:] == (v, mode) and c.precision == precision} for v in INPUTS]
            lines.append(row([f'{precision}, {mode}', *(entry(errors, figures) for errors in own)]))
    return lines


def entry(errors: dict[Case, float], figures: bool) -> str:
    """The tolerance of some cases, or their largest error."""
    case = max(errors, key=errors.__getitem__)
    allowed = tolerance(case)
    if allowed is None:
        return 'overflow'
    if not errors[case] <= allowed:
        raise SystemExit(f'{case}: the error is {errors[case]:.1e}, more than {allowed:.0e}')
    return f'{errors[case] if figures else allowed:.0e}'


def large_cases() -> list[Case]:
    """One image of 1344 x 800 in float16, whose pixels have a sum beyond the numbers of this type."""
    return [Case('HOGA, autola', '.half()', memory_format, LARGE, 1, 'normal', 'eval') for memory_format in FORMATS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--figures', action='store_true', help='print measured errors instead of the tolerances')
    args = parser.parse_args()
    print('\n'.join(small_table(args.figures)))
    large = {case: error(case, 4) for case in large_cases()}
    print(f'\n1344 x 800, .half(), eval: {entry(large, args.figures)}')


if __name__ == '__main__':
    main()
