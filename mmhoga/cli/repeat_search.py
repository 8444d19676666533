"""``mmhoga repeat-search``: repeat a search with several seeds, and compare the genotypes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job
from mmhoga.cli.run.trials import require_same_settings, run_trials, trial_folder, trial_parser
from mmhoga.genotype import Genotype
from mmhoga.hosts import load_config
from mmhoga.search.studies import agreement_table


def repeat_search_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input or a failed trial."""
    parser = trial_parser(
        'Repeat a search with several seeds, and compare the genotypes.\n\n'
        'Trial i runs CONFIG with the seed --seed + i.\nThe same command continues after an interruption, and a larger '
        '--trials adds trials.',
        'mmhoga repeat-search hoga-search_resnet8_1xb64-8e_digits --trials 4',
    )
    parser.set_defaults(trials=4)
    args = parser.parse_args(argv)

    def main() -> None:
        config = Path(load_config(args.config, args.cfg_options).filename)
        options = args.cfg_options or {}
        work_dir = (args.work_dir or Path('work_dirs') / f'{config.stem}_repeated').resolve()
        require_same_settings(work_dir, dict(config=config.name, seed=args.seed, cfg_options=options))
        seeds = range(args.seed, args.seed + args.trials)
        jobs = [
            Job(f'seed {seed}', args.config, trial_folder(work_dir, i), {**options, 'randomness.seed': seed})
            for i, seed in enumerate(seeds)
        ]
        try:
            run_trials(args, jobs)
        finally:
            print(compare_searches([job.work_dir for job in jobs if job.done()], len(jobs)))

    return run(main)


def compare_searches(work_dirs: Sequence[Path], total: int) -> str:
    """How far the genotypes of finished searches agree, per stage if each stage has its own alpha."""
    by_stage: dict[str, list[Genotype]] = {}
    for work_dir in work_dirs:
        for path in sorted([*work_dir.glob('genotype.json'), *work_dir.glob('*/genotype.json')]):
            by_stage.setdefault(str(path.parent.relative_to(work_dir)), []).append(Genotype.load(path))
    parts = [f'{len(work_dirs)} of {total} searches are done.']
    for stage, genotypes in by_stage.items():
        if len(genotypes) > 1:
            names = genotypes[0].meta.get('primitives') or ()
            candidates = len([name for name in names if name != 'none']) or 1
            heading = '' if stage == '.' else f'{stage}: '
            parts.append(heading + agreement_table(genotypes, candidates))
    return '\n'.join(parts)
