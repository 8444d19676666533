"""What all tests share: threads, seeds, isolation, and the recorded numbers of the authors' code."""

import functools
import logging
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
from entry_points import quicken_runs
from mmengine.runner import Runner
from mmengine.utils import ManagerMixin

# Files that take longest, which start first, so that no process of the tests waits for another one at the end.
SLOWEST = (
    'test_interpreter',
    'test_configs',
    'test_wheel',
    'test_export',
    'test_compile',
    'test_entry_points',
    'test_insert',
    'test_families',
    'test_downstream',
    'test_tools',
    'test_resume',
    'test_without_openmmlab',
)

ROOT = Path(__file__).resolve().parent.parent
GOLDEN = ROOT.parent / 'shared' / 'golden'

if 'PYTEST_XDIST_WORKER' in os.environ:
    torch.set_num_threads(1)

quicken_runs()  # half of the time of a small training


def pytest_collection_modifyitems(items):
    order = {name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


@pytest.fixture(autouse=True)
def seeds():
    """Every test starts from the same random state."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (the hosts draw from the global generator)
    torch.manual_seed(0)


def managers(base=ManagerMixin):
    """Every class of mmengine and the hosts that keeps its instances by name: scopes, loggers, visualizers, hubs."""
    return {base}.union(*map(managers, base.__subclasses__()))


def forget_runs(init=Runner.__init__):
    """A Runner finds no log, scope or hub of an earlier one, whose name is the same if they start in one second."""

    @functools.wraps(init)
    def forgetful(self, *args, **kwargs):
        for kind in managers():
            kind._instance_dict.clear()
        init(self, *args, **kwargs)

    Runner.__init__ = forgetful


forget_runs()


@pytest.fixture(autouse=True)
def no_trace_of_runs():
    """Runs of a test leave no scope in which the next looks types up, and no log."""
    before, disabled = {kind: dict(kind._instance_dict) for kind in managers()}, logging.root.manager.disable
    yield
    logging.disable(disabled)
    for kind in managers():
        kind._instance_dict.clear()
        kind._instance_dict.update(before.get(kind, {}))


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
