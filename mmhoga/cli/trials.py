"""``mmhoga random-search`` and ``mmhoga repeat-search``: studies of one config that differ in a genotype or a seed.

On one machine the command runs all trials, ``--jobs`` at a time. It skips trials that are done and resumes those that
were stopped. On a cluster several processes run the same command, or each trial is a job of its own: ``--trial
$SLURM_ARRAY_TASK_ID``. In all cases the summary covers the trials that are done.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.studies import add_space, open_study, random_genotypes, run_study, study_parser, write_ranking
from mmhoga.cli.run.trainings import Trainings
from mmhoga.cli.run.trial_configs import genotype_config, require_groups, seed_config
from mmhoga.genotype import Genotype
from mmhoga.hosts import LaunchError, load_config
from mmhoga.search.supernets import is_of_kind
from mmhoga.studies.agreement import agreement_table
from mmhoga.studies.space import suggest_genotype, to_parameters
from mmhoga.studies.study import Study

CONTINUES = 'The same command continues after an interruption, and a larger --trials adds trials.'


def random_search_main(argv: Sequence[str] | None = None) -> int:
    """Train random genotypes and rank them. Returns the exit code: 2 for bad input or a failed trial."""
    parser = study_parser(
        'Train random genotypes from the space of a search (Rand_HOGA), and rank them.\n\n'
        f'CONFIG trains a network with mmhoga.HOGA plugins. Each trial replaces their genotype.\n{CONTINUES}',
        'mmhoga random-search hoga-resnet8_1xb96-8e_digits --trials 4',
        trials=8,
    )
    add_space(parser)
    args = parser.parse_args(argv)
    return run(lambda: _random_search(args))


def repeat_search_main(argv: Sequence[str] | None = None) -> int:
    """Repeat a search and compare the results. Returns the exit code: 2 for bad input or a failed trial."""
    parser = study_parser(
        'Repeat a search with several seeds, and compare the genotypes.\n\n'
        f'Trial i runs CONFIG with the seed --seed + i.\n{CONTINUES}',
        'mmhoga repeat-search hoga-search_resnet8_1xb64-8e_digits --trials 4',
        trials=4,
    )
    args = parser.parse_args(argv)
    return run(lambda: _repeat_search(args))


def _random_search(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    require_groups(cfg, args.num_groups)
    space = dict(num_groups=args.num_groups, primitives=args.primitives)
    parameters = dict(enumerate(map(to_parameters, random_genotypes(args))))
    study = open_study(args, 'random', space, lambda trial: suggest_genotype(trial, **space), ['maximize'])
    trainings = Trainings(study, cfg, genotype_config, metric=args.metric)
    run_study(args, study, parameters, trainings.run, lambda: write_ranking(args, study))


def _repeat_search(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    if not is_of_kind(cfg.get('model') or {}, 'SearchModel'):
        raise LaunchError(
            f'{cfg.filename} is not the config of a search: its model is {(cfg.get("model") or {}).get("type")}, not '
            'mmhoga.SearchModel. mmhoga search makes such a config from that of a training (--dump-config).'
        )
    parameters = {number: {'seed': args.seed + number} for number in range(args.trials)}
    study = open_study(args, 'repeated', {}, lambda trial: trial.suggest_int('seed', 0, 2**32 - 1), ['maximize'])
    trainings = Trainings(study, cfg, seed_config, name=lambda claim: f'seed {claim.proposal}')
    run_study(args, study, parameters, trainings.run, lambda: _compare(args, study))


def _compare(args: argparse.Namespace, study: Study) -> str:
    """The agreement of the genotypes of finished searches, per stage if each stage has its own alpha."""
    by_stage: dict[str, list[Genotype]] = {}
    for number in study.complete:
        folder = study.folder(number)
        for path in sorted([*folder.glob('genotype.json'), *folder.glob('*/genotype.json')]):
            by_stage.setdefault(str(path.parent.relative_to(folder)), []).append(Genotype.load(path))
    parts = [f'{len(study.complete)} of {args.trials} searches are done.']
    for stage, genotypes in by_stage.items():
        if len(genotypes) > 1:
            names = genotypes[0].meta.get('primitives') or ()
            candidates = len([name for name in names if name != 'none']) or 1
            heading = '' if stage == '.' else f'{stage}: '
            parts.append(heading + agreement_table(genotypes, candidates))
    return '\n'.join(parts)
