"""What tools/repeat_search.py does: one search with several seeds, and how far the genotypes agree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.jobs import Job
from mmhoga.cli.run.trials import last_step, run_trials, same_trials, trial_folder, trial_parser
from mmhoga.genotype import Genotype
from mmhoga.hosts import load_config
from mmhoga.search.studies.agreement import agreement, agreement_table


def repeat_search_main(argv: Sequence[str] | None = None) -> int:
    """Search and compare. Returns the exit code: 2 for bad input or a failed trial."""
    parser = trial_parser(
        'Repeat a search: trial i is CONFIG with the seed --seed + i. Ends with how far the genotypes agree.\n\n'
        'The same command goes on where it was stopped, and more --trials add to fewer.'
    )
    parser.set_defaults(trials=4)
    args = parser.parse_args(argv)

    def main() -> None:
        cfg = load_config(args.config, args.cfg_options)
        work_dir = (args.work_dir or Path('work_dirs') / f'{Path(args.config).stem}_repeated').resolve()
        same_trials(work_dir, dict(config=Path(args.config).name, seed=args.seed, cfg_options=args.cfg_options))
        jobs = [
            Job(
                f'seed {args.seed + i}',
                str(Path(args.config).resolve()),
                trial_folder(work_dir, i),
                {**args.cfg_options, 'randomness.seed': args.seed + i},
                last_step=last_step(cfg),
            )
            for i in range(args.trials)
        ]
        try:
            run_trials(args, jobs)
        finally:
            print(compare_searches([job.work_dir for job in jobs if job.done()], len(jobs)))

    return run(main)


def compare_searches(work_dirs: Sequence[Path], total: int) -> str:
    """The agreement of finished searches; stage by stage where each has an alpha of its own."""
    found: dict[str, list[Genotype]] = {}
    for work_dir in work_dirs:
        for path in sorted([*work_dir.glob('genotype.json'), *work_dir.glob('*/genotype.json')]):
            found.setdefault(str(path.parent.relative_to(work_dir)), []).append(Genotype.load(path))
    parts = [f'{len(work_dirs)} of {total} searches have finished.']
    for stage, genotypes in found.items():
        if len(genotypes) > 1:
            names = genotypes[0].meta.get('primitives') or ()
            candidates = len([name for name in names if name != 'none']) or 1
            heading = '' if stage == '.' else f'{stage}: '
            parts.append(heading + agreement_table(agreement(genotypes), candidates))
    return '\n'.join(parts)
