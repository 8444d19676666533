"""One process of a study with a stub objective: ``python two_processes.py WORK_DIR STORAGE``."""

import os
import sys
import time
from pathlib import Path

from mmhoga.studies.space import sample_genotypes, suggest_genotype, to_parameters
from mmhoga.studies.study import Study

SPACE = dict(num_groups=2, primitives=['se', 'cbam', 'skip_connect'])
TRIALS = 12


def objective(claim):
    """The number of edges with ``se``, after 0.2 s. Every start leaves a line in the trial's folder."""
    with (claim.folder / 'starts').open('a') as file:
        file.write(f'{os.getpid()}\n')
    time.sleep(0.2)
    return [sum(name == 'se' for row in claim.proposal.edges for name in row)]


if __name__ == '__main__':
    study = Study(
        Path(sys.argv[1]),
        directions=['maximize'],
        settings={'seed': 0},
        suggest=lambda trial: suggest_genotype(trial, **SPACE),
        storage=sys.argv[2],
    )
    study.plan(dict(enumerate(map(to_parameters, sample_genotypes(TRIALS, **SPACE)))))
    study.run(objective, range(TRIALS))
