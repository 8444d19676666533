"""The table of docs/numbers.md: errors against float64 by type, memory format, size, batch, input and mode."""

import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'benchmarks'))

import precision  # noqa: E402

CASES = [case for case in precision.cases() if case.precision in ('float32', 'autocast, float16', '.half()')]


@pytest.mark.parametrize('cell', precision.CELLS)
def test_errors_are_within_the_tolerances(cell):
    own = [case for case in CASES if case.cell == cell and precision.tolerance(case) is not None]
    assert len(own) > 80
    wrong = {case: error for case in own if not (error := precision.error(case)) <= precision.tolerance(case)}
    assert not wrong


@pytest.mark.parametrize('memory_format', precision.FORMATS)
def test_half_precision_at_1344_by_800(memory_format):
    """A sum over these pixels is beyond the numbers of float16; a mean is not."""
    (case,) = (case for case in precision.large_cases() if case.memory_format == memory_format)
    assert precision.input_of(case, 4).abs().sum() > torch.finfo(torch.float16).max
    assert precision.error(case, 4) <= precision.tolerance(case)


def test_a_nan_stays_in_its_image():
    """Evaluation, all cells: NaN everywhere in the image that has one, and nowhere else."""
    for name in precision.CELLS:
        case = precision.Case(name, 'float32', 'contiguous', (5, 7), 3, 'one NaN', 'eval')
        reference = precision.reference_of(case, precision.CHANNELS)
        assert reference[0].isnan().all() and not reference[1:].isnan().any()
        assert precision.error(case) <= precision.tolerance(case)


def test_the_page_has_the_tolerances():
    rows = [line.split('|')[1:-1] for line in (ROOT / 'docs' / 'numbers.md').read_text().splitlines() if '|' in line]
    table = {cells[0].strip(): [cell.strip() for cell in cells[1:]] for cells in rows}
    for case in precision.cases():
        allowed = precision.tolerance(case)
        shown = table[f'{case.precision}, {case.mode}'][precision.INPUTS.index(case.values)]
        assert shown.partition(' ')[0] == ('overflow' if allowed is None else f'{allowed:.0e}')
