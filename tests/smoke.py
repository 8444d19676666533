"""The smoke suite of a stack, and the row of the compatibility table for it.

    python tests/smoke.py STACK [arguments of pytest]

`make test STACK=oldest` sets up an environment with the pins of requirements/stacks/oldest.txt and runs this. The tests
are those of the full suite that depend most on versions: arithmetic and gradients, import hooks, checkpoints, a search,
and a training of every installed host.
"""

import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

TESTS = Path(__file__).resolve().parent

#: Files of tests, or single ones.
SMOKE = (
    'test_compat/test_import_hooks.py',
    'test_compat/test_mmcv_ops.py',
    'test_compat/test_checkpoint/test_plain.py',
    'test_compat/test_checkpoint/test_reading.py',
    'test_genotype.py',
    'test_models/test_primitives.py',
    'test_models/test_supernet.py',
    'test_search/test_bilevel.py',
    'test_backbones/test_plugins.py',
    'test_cli/test_doctor.py',
    'test_demo_hosts.py::test_train_resume_test',
    'test_demo_hosts.py::test_every_parameter_learns',
)
#: Distributions in the row, where they are installed.
HOSTS = (
    *('mmengine', 'mmcv-lite', 'mmdet', 'mmpretrain', 'mmpose'),
    *('onedl-mmengine', 'onedl-mmcv', 'onedl-mmdetection', 'onedl-mmpretrain'),
)


class Counts:
    """Counts the results of pytest."""

    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def pytest_runtest_logreport(self, report):
        if report.outcome == 'failed':
            self.failed += 1
        elif report.skipped:
            self.skipped += 1
        elif report.when == 'call':
            self.passed += 1

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed += 1
        elif report.skipped:
            self.skipped += 1


def row(stack, counts):
    """A row of the compatibility table in docs/faq.md."""

    def versions(*names):
        found = []
        for name in names:
            try:
                found.append(f'{name} {metadata.version(name)}')
            except metadata.PackageNotFoundError:
                continue
        return ', '.join(found)

    python = platform.python_version()
    numbers = (f'{versions(name).partition(" ")[2]}' for name in ('torch', 'numpy'))
    tests = f'{counts.passed} passed, {counts.failed} failed, {counts.skipped} skipped'
    return f'| `{stack}` | {" | ".join([python, *numbers, versions(*HOSTS), tests])} |'


def main():
    import pytest

    stack, *arguments = sys.argv[1:]
    counts, start = Counts(), time.perf_counter()
    code = pytest.main([*(str(TESTS / test) for test in SMOKE), '-q', '-p', 'no:cacheprovider', *arguments], [counts])
    seconds = time.perf_counter() - start
    print(row(stack, counts))
    print(f'{seconds:.0f} s, with {sum(os.times()[:4]):.0f} s on a processor')
    return int(code)


if __name__ == '__main__':
    sys.exit(main())
