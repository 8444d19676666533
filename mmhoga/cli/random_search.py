"""What tools/random_search.py does: train random genotypes of the search's space, and rank them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job
from mmhoga.cli.run.trials import last_step, run_trials, same_trials, trial_folder, trial_parser
from mmhoga.files import write_atomic
from mmhoga.genotype import PRIMITIVES, Genotype
from mmhoga.hosts import LaunchError, load_config
from mmhoga.report.metrics import pick_metric
from mmhoga.report.runs import Run, read_run
from mmhoga.search.studies.sampling import sample_genotypes


def random_search_main(argv: Sequence[str] | None = None) -> int:
    """Train and rank. Returns the exit code: 2 for bad input or a failed trial."""
    parser = trial_parser(
        'Train N random genotypes of the space of a search (Rand_HOGA), and rank them.\n\n'
        'CONFIG trains a network with mmhoga.HOGA plugins; each trial gives them another genotype. The same '
        'command goes on\nwhere it was stopped, and more --trials add to fewer.'
    )
    parser.add_argument('--num-groups', type=int, default=4, help='K (default: %(default)s)')
    parser.add_argument('--primitives', nargs='+', help='the candidates (default: all of mmhoga)')
    parser.add_argument('--metric', help='to rank by, more being better (default: the first that the host measures)')
    args = parser.parse_args(argv)

    def main() -> None:
        cfg = load_config(args.config, args.cfg_options)
        work_dir = (args.work_dir or Path('work_dirs') / f'{Path(args.config).stem}_random').resolve()
        primitives = args.primitives or list(PRIMITIVES)
        try:
            genotypes = sample_genotypes(args.trials, num_groups=args.num_groups, primitives=primitives, seed=args.seed)
        except ValueError as error:
            raise LaunchError(str(error)) from error
        keys = list(genotype_keys(cfg.model, 'model'))
        if not keys:
            raise LaunchError(f'{args.config} has no plugin of type mmhoga.HOGA to give a genotype to.')
        settings = dict(config=Path(args.config).name, seed=args.seed, num_groups=args.num_groups)
        same_trials(work_dir, {**settings, 'primitives': primitives, 'cfg_options': args.cfg_options})
        jobs, config = [], str(Path(args.config).resolve())
        for i, genotype in enumerate(genotypes):
            folder = trial_folder(work_dir, i)
            folder.mkdir(exist_ok=True)
            genotype.save(folder / 'genotype.json')
            options = {**args.cfg_options, **dict.fromkeys(keys, folder / 'genotype.json')}
            jobs.append(Job(f'trial {i}', config, folder, options, last_step=last_step(cfg)))
        try:
            run_trials(args, jobs)
        finally:
            print(rank(work_dir, jobs, args.metric))

    return run(main)


def genotype_keys(node: Any, prefix: str) -> Iterator[str]:
    """The dotted key of the genotype of every HOGA in a model's config."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, (list, tuple)) else ()
    for name, value in items:
        yield from genotype_keys(value, f'{prefix}.{name}')
    if isinstance(node, dict) and str(node.get('type')) in ('HOGA', 'mmhoga.HOGA'):
        yield f'{prefix}.genotype'


@dataclass(frozen=True)
class Ranked:
    """A trial that has finished."""

    trial: int
    value: float
    genotype: Genotype


def rank(work_dir: Path, jobs: Sequence[Job], metric: str | None) -> str:
    """Write ``ranking.json`` of the trials that are done; the table to print.

    Raises:
        LaunchError: none of them measured ``metric``.
    """
    runs: dict[int, Run] = {i: read_run(job.work_dir) for i, job in enumerate(jobs) if job.done()}
    try:
        chosen = pick_metric(runs.values(), metric) if runs else None
    except ValueError as error:
        raise LaunchError(f'--metric: {error}') from error
    if chosen is None:
        return f'No trial of {len(jobs)} has finished yet.'
    trials = [
        Ranked(i, value, Genotype.load(trial_folder(work_dir, i) / 'genotype.json'))
        for i, one in runs.items()
        if (value := one.final(chosen.key)) is not None
    ]
    trials.sort(key=lambda one: (-one.value, one.trial))
    rows = [{'trial': one.trial, chosen.key: one.value, 'genotype': one.genotype.to_dict()['edges']} for one in trials]
    record = {'format': 'mmhoga.ranking', 'version': 1, 'metric': chosen.key, 'of': len(jobs), 'trials': rows}
    write_atomic(work_dir / 'ranking.json', json.dumps(record, indent=1) + '\n')
    lines = [f'rank  trial  {chosen.key}  genotype']
    for position, one in enumerate(trials, start=1):
        edges = ' | '.join(', '.join(row) for row in one.genotype.edges)
        figure = chosen.format(one.value).rjust(len(chosen.key))
        lines.append(f'{position:4}  {one.trial:5}  {figure}  {edges}')
    lines.append(f'{len(trials)} of {len(jobs)} trials have finished; {work_dir / "ranking.json"}')
    return '\n'.join(lines)
