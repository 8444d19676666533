"""The number of operator calls of a derived cell, each of which is a launch on a GPU, does not grow."""

import sys
from pathlib import Path

import pytest
import torch

from mmhoga.models import HOGA

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'benchmarks'))
from side_by_side import Calls


def calls(run):
    run()  # the first call may allocate
    with Calls() as counter:
        run()
    return counter.count


@pytest.fixture
def cell():
    return HOGA(64, genotype='autola').to(memory_format=torch.channels_last)


@pytest.fixture
def x():
    return torch.randn(2, 64, 8, 8).to(memory_format=torch.channels_last).requires_grad_()


def test_inference(cell, x):
    """106 before edges ran together."""
    cell.eval()
    with torch.inference_mode():
        assert calls(lambda: cell(x)) <= 58


def test_training(cell, x):
    """299 before edges ran together."""
    probe = torch.ones_like(x)

    def step():
        cell(x).backward(probe)
        cell.zero_grad()
        x.grad = None

    assert calls(step) <= 205


def test_fused(cell, x):
    """88 before edges ran together."""
    cell.fuse()
    with torch.inference_mode():
        assert calls(lambda: cell(x)) <= 50
