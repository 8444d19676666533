"""What all tests share: threads, seeds, isolation, and the recorded numbers of the authors' code."""

import os
import random
from pathlib import Path

# Each worker of pytest-xdist is a process; two of them with all cores each would wait for one another. Set
# before torch is imported, and inherited by the subprocesses that tests start.
if 'PYTEST_XDIST_WORKER' in os.environ:
    os.environ['OMP_NUM_THREADS'] = os.environ['MKL_NUM_THREADS'] = '1'

import numpy as np
import pytest
import torch
from mmengine.registry import DefaultScope

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / 'shared' / 'golden'

if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the hosts draw from the global generator)
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def default_scope():
    """A Runner leaves its default scope behind; the next test must not look types up in it."""
    before = dict(DefaultScope._instance_dict)
    yield
    DefaultScope._instance_dict.clear()
    DefaultScope._instance_dict.update(before)


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def golden() -> Path:
    """Directory of outputs and gradients recorded from the authors' released code, beside the checkout."""
    if not GOLDEN.is_dir():
        pytest.skip(f'the recorded numbers of the released code are not at {GOLDEN}')
    return GOLDEN
