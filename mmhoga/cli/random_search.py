"""``mmhoga random-search``: train random genotypes from the space of a search, and rank them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job, from_here
from mmhoga.cli.run.trials import require_same_settings, run_trials, trial_folder, trial_parser
from mmhoga.files import write_atomic
from mmhoga.genotype import PRIMITIVES, Genotype
from mmhoga.hosts import LaunchError, load_config
from mmhoga.report.comparison import pick_metric
from mmhoga.report.runs import read_run
from mmhoga.search.studies import sample_genotypes


def random_search_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input or a failed trial."""
    parser = trial_parser(
        'Train random genotypes from the space of a search (Rand_HOGA), and rank them.\n\n'
        'CONFIG trains a network with mmhoga.HOGA plugins. Each trial replaces their genotype.\nThe same command '
        'continues after an interruption, and a larger --trials adds trials.',
        'mmhoga random-search hoga-resnet8_1xb96-8e_digits --trials 4',
    )
    parser.add_argument('--num-groups', type=int, default=4, help='K (default: %(default)s)')
    parser.add_argument('--primitives', nargs='+', help='candidates (default: all)')
    parser.add_argument('--metric', help='metric to rank by; higher is better (default: the first one in the logs)')
    args = parser.parse_args(argv)

    def main() -> None:
        cfg = load_config(args.config, args.cfg_options)
        config = Path(cfg.filename)
        work_dir = (args.work_dir or Path('work_dirs') / f'{config.stem}_random').resolve()
        primitives = args.primitives or list(PRIMITIVES)
        try:
            genotypes = sample_genotypes(args.trials, num_groups=args.num_groups, primitives=primitives, seed=args.seed)
        except ValueError as error:
            raise LaunchError(str(error)) from error
        keys = list(genotype_keys(cfg.model, 'model'))
        if not keys:
            raise LaunchError(f'{args.config} has no plugin of type mmhoga.HOGA whose genotype could be replaced.')
        options = args.cfg_options or {}
        settings = dict(config=config.name, seed=args.seed, num_groups=args.num_groups)
        require_same_settings(work_dir, {**settings, 'primitives': primitives, 'cfg_options': options})
        jobs = []
        for i, genotype in enumerate(genotypes):
            folder = trial_folder(work_dir, i)
            folder.mkdir(exist_ok=True)
            genotype.save(folder / 'genotype.json')
            genotypes_here = dict.fromkeys(keys, from_here(folder / 'genotype.json'))
            jobs.append(Job(f'trial {i}', args.config, folder, {**options, **genotypes_here}))
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


def rank(work_dir: Path, jobs: Sequence[Job], metric: str | None) -> str:
    """Write ``ranking.json`` with the trials that are done, and return the table to print.

    Raises:
        LaunchError: no trial has measured ``metric``.
    """
    runs = {i: read_run(job.work_dir) for i, job in enumerate(jobs) if job.done()}
    try:
        chosen = pick_metric(runs.values(), metric) if runs else None
    except ValueError as error:
        raise LaunchError(f'--metric: {error}') from error
    if chosen is None:
        return f'No trial of {len(jobs)} is done yet.'
    values = {i: value for i, one in runs.items() if (value := one.final(chosen.key)) is not None}
    rows: list[dict[str, Any]] = []
    lines = [f'rank  trial  {chosen.key}  genotype']
    for position, i in enumerate(sorted(values, key=lambda i: (-values[i], i)), start=1):
        edges = Genotype.load(trial_folder(work_dir, i) / 'genotype.json').to_dict()['edges']
        rows.append({'trial': i, chosen.key: values[i], 'genotype': edges})
        score = chosen.format(values[i]).rjust(len(chosen.key))
        lines.append(f'{position:4}  {i:5}  {score}  {" | ".join(", ".join(row) for row in edges)}')
    record = {'format': 'mmhoga.ranking', 'version': 1, 'metric': chosen.key, 'of': len(jobs), 'trials': rows}
    write_atomic(work_dir / 'ranking.json', json.dumps(record, indent=1) + '\n')
    return '\n'.join([*lines, f'{len(rows)} of {len(jobs)} trials are done; {work_dir / "ranking.json"}'])
