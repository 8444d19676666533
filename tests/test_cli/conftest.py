"""Trainings that write logs and train nothing."""

import pytest
from fake_logs import write_run

from mmhoga.cli.run.jobs import Job, JobError


@pytest.fixture
def fake(monkeypatch):
    """Trials that write logs and train nothing. Those in ``fails`` fail."""
    started, fails = [], set()

    def run(self, threads, watch=None, on_start=None):
        number = int(self.work_dir.name[-3:])
        started.append(number)
        if number in fails:
            raise JobError(f'{self.name} failed (exit code 1).')
        write_run(self, [0.0] * 7 + [50.0 + (number * 37) % 10])

    monkeypatch.setattr(Job, 'run', run)
    return started, fails
