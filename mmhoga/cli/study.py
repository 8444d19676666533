"""``mmhoga study``: search genotypes with Optuna by training each, or by scoring each with a supernet."""

from __future__ import annotations

import argparse
import importlib.util
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from mmengine.config import Config

from mmhoga.cli.run.errors import run
from mmhoga.cli.run.runner import require_checkpoint
from mmhoga.cli.run.studies import (
    add_space,
    open_study,
    random_genotypes,
    run_study,
    study_metric,
    study_parser,
    write_ranking,
)
from mmhoga.cli.run.trainings import Trainings
from mmhoga.cli.run.trial_configs import genotype_config, require_groups, shorten
from mmhoga.cli.values import height_and_width, positive, require_device
from mmhoga.files import write_atomic
from mmhoga.genotype import PRIMITIVES, Genotype, GenotypeError
from mmhoga.hosts import LaunchError, import_mmpretrain, load_config, one_paragraph
from mmhoga.search.selection import SupernetScore
from mmhoga.studies.backends import PRUNERS, SAMPLERS
from mmhoga.studies.costs import COSTS, NetworkCost
from mmhoga.studies.ranking import rank
from mmhoga.studies.space import derivable, suggest_genotype, to_parameters
from mmhoga.studies.study import Study
from mmhoga.studies.supernet import SupernetObjective

AXES = {'params': ('parameters', ''), 'macs': ('MACs', ''), 'latency': ('latency', 's')}
FOR_TRAININGS = ('epochs', 'pruner')
FOR_SUPERNETS = ('checkpoint', 'data')

Parameters = dict[int, dict[str, str]]  # of each trial by number, as far as they are known before it starts


def study_main(argv: Sequence[str] | None = None) -> int:
    """Run a study. Returns the exit code: 2 for bad input or a failed trial."""
    args = study_command().parse_args(argv)
    return run(lambda: _study(args))


def study_command() -> argparse.ArgumentParser:
    parser = study_parser(
        'Search genotypes with Optuna: each trial trains or scores one, and the sampler proposes the next.\n\n'
        'CONFIG trains a network with mmhoga.HOGA plugins; each trial replaces their genotype. With --objective\n'
        'supernet, CONFIG is that of a search, and its supernet scores the genotypes without training. With --cost,\n'
        'the study looks for the Pareto front. The same command, started several times with the same --work-dir,\n'
        'joins the study; started again, it continues it.',
        'mmhoga study hoga-resnet8_1xb96-8e_digits --sampler nsga2 --cost macs --shape 8 --trials 24',
        trials=16,
    )
    add_space(parser)
    parser.set_defaults(num_groups=None, primitives=None)  # those of the supernet, if there is one
    parser.add_argument('--sampler', choices=SAMPLERS, default='tpe', help='(default: %(default)s)')
    population = 'genotypes per generation of nsga2 (default: %(default)s)'
    parser.add_argument('--population', type=positive(int), default=8, metavar='N', help=population)
    first = 'genotypes to try first: built-in names or .json files'
    parser.add_argument('--genotypes', nargs='+', default=[], metavar='GENOTYPE', help=first)

    objective = parser.add_argument_group('objective')
    kinds = 'train each genotype, or score it with the supernet of a finished search (default: %(default)s)'
    objective.add_argument('--objective', choices=['train', 'supernet'], default='train', help=kinds)
    epochs = 'train: number of epochs, with the schedules compressed (default: as in CONFIG)'
    objective.add_argument('--epochs', type=positive(int), metavar='N', help=epochs)
    pruner = 'train: end trainings whose validations are behind; not with --cost (default: %(default)s)'
    objective.add_argument('--pruner', choices=PRUNERS, default='none', help=pruner)
    objective.add_argument('--checkpoint', help='supernet: checkpoint of the search')
    data = "supernet: the loss on the alphas' half of the training data, or the metrics of the validation"
    objective.add_argument('--data', choices=['trainB', 'val'], help=f'{data} (default: trainB)')

    cost = parser.add_argument_group('cost')
    cost.add_argument('--cost', choices=COSTS, help='cost of the network, as a second objective')
    shape = 'height and width of the image for which the cost counts, or one number for both'
    cost.add_argument('--shape', type=positive(int), nargs='+', metavar='N', help=shape)
    device = 'cuda' if torch.cuda.is_available() else 'cpu'
    cost.add_argument('--device', default=device, help='device of --cost latency (default: cuda if available)')
    return parser


def _study(args: argparse.Namespace) -> None:
    cfg = load_config(args.config, args.cfg_options)
    cost = None
    if args.cost:
        if not args.shape:
            raise LaunchError(f'--cost {args.cost} needs the size of an image: --shape HEIGHT WIDTH.')
        if args.cost == 'latency':
            require_device(args.device)
        cost = NetworkCost(args.cost, height_and_width('--shape', args.shape), args.device)
    wrong = FOR_SUPERNETS if args.objective == 'train' else FOR_TRAININGS
    for name in wrong:
        if getattr(args, name) not in (None, 'none'):
            raise LaunchError(f'--{name} does not go with --objective {args.objective}.')
    if args.objective == 'train':
        _train(args, cfg, cost)
    else:
        _score(args, cfg, cost)


def _train(args: argparse.Namespace, cfg: Config, cost: NetworkCost | None) -> None:
    args.num_groups, args.primitives = args.num_groups or 4, args.primitives or list(PRIMITIVES)
    require_groups(cfg, args.num_groups)
    if args.epochs:
        shorten(cfg, args.epochs)
    parameters, study = _open(args, 'maximize', cost)
    trainings = Trainings(study, cfg, genotype_config, args.metric, cost)
    run_study(args, study, parameters, trainings.run, lambda: _summary(args, study))


def _score(args: argparse.Namespace, cfg: Config, cost: NetworkCost | None) -> None:
    if not args.checkpoint:
        raise LaunchError('--objective supernet needs the checkpoint of the search: --checkpoint FILE.')
    if args.jobs > 1:
        raise LaunchError('--jobs: a process scores one genotype at a time. Start the command several times instead.')
    if 'SearchModel' not in str(cfg.model.get('type')):
        raise LaunchError(
            f'{args.config} is not a search: its model is {cfg.model.get("type")}, not mmhoga.SearchModel. Give the '
            'config of the search that wrote the checkpoint.'
        )
    require_checkpoint(args.checkpoint)
    import_mmpretrain(cfg)
    args.data = args.data or 'trainB'
    try:
        score = SupernetScore(cfg, args.checkpoint, data=args.data)
    except Exception as error:
        raise LaunchError(
            f'{args.config} with {args.checkpoint} is not a search whose supernet can score: {one_paragraph(error)}'
        ) from error
    if score.model.named_choices():
        raise LaunchError(f'{args.config} searches a placement too. A study scores genotypes in all blocks only.')
    args.num_groups = args.num_groups or score.model.num_groups
    args.primitives = args.primitives or list(score.model.primitives)
    outside = {*args.primitives} - {*score.model.primitives}
    if args.num_groups != score.model.num_groups or outside:
        raise LaunchError(
            f'The supernet has K = {score.model.num_groups} and the candidates {", ".join(score.model.primitives)}. '
            'Leave out --num-groups, and choose --primitives among these.'
        )
    parameters, study = _open(args, 'minimize' if args.data == 'trainB' else 'maximize', cost)
    objective = SupernetObjective(score, args.metric, cost)

    def scores(numbers: Collection[int], side_by_side: int) -> int:
        return study.run(objective, numbers, report=print)

    run_study(args, study, parameters, scores, lambda: _summary(args, study))


def _open(args: argparse.Namespace, direction: str, cost: NetworkCost | None) -> tuple[Parameters, Study]:
    """Create or join the study of the arguments."""
    space = dict(num_groups=args.num_groups, primitives=args.primitives)
    parameters = dict(enumerate([*_first(args), *_rest(args)][: args.trials]))
    names = ('objective', 'epochs', 'checkpoint', 'data', 'cost', 'shape', 'metric')
    study = open_study(
        args,
        'study',
        {**space, **{name: getattr(args, name) for name in names}},
        lambda trial: suggest_genotype(trial, **space),
        [direction, 'minimize'] if cost else [direction],
        sampler=args.sampler,
        pruner=args.pruner,
        population=args.population,
    )
    return parameters, study


def _first(args: argparse.Namespace) -> list[dict[str, str]]:
    """The parameters of ``--genotypes``."""
    given = []
    for name in args.genotypes:
        try:
            genotype = Genotype.from_config(name)
        except (GenotypeError, FileNotFoundError) as error:
            raise LaunchError(f'--genotypes: {error}') from error
        outside = {operation for row in genotype.edges for operation in row} - {*derivable(args.primitives)}
        if genotype.num_groups != args.num_groups or outside:
            reason = f'uses {", ".join(sorted(outside))}' if outside else f'has K = {genotype.num_groups}'
            raise LaunchError(f'--genotypes: {name} is not in the space of this study: it {reason}.')
        given.append(to_parameters(genotype))
    return given


def _rest(args: argparse.Namespace) -> list[dict[str, str]]:
    """The parameters of the other trials. Only the random ones are known before the trial starts."""
    if args.sampler == 'random':
        return [to_parameters(genotype) for genotype in random_genotypes(args)]
    return [{}] * args.trials


def _summary(args: argparse.Namespace, study: Study) -> str:
    """Write the ranking and, with a cost, the figure of the Pareto front."""
    text, metric = write_ranking(args, study, args.cost), study_metric(args, study)
    if not args.cost or metric is None:
        return text
    if importlib.util.find_spec('matplotlib') is None:
        return f"{text}\nThe Pareto front is not drawn without matplotlib: pip install 'mmhoga[analysis]'."
    from mmhoga.figures.front_figure import Point, plot_front

    label, unit = AXES[args.cost]
    scale = 1e-3 if args.cost == 'latency' else 1  # seconds, to which the axis adds a prefix
    rows = rank(study, metric, args.cost, args.num_groups)
    points = [Point(row['trial'], scale * row[args.cost], row[metric.key], row['front']) for row in rows]
    scored = args.objective == 'supernet'
    picture = plot_front(points, xlabel=label, ylabel=metric.axis, unit=unit, scored=scored, lower=study.minimizes)
    path: Path = study.work_dir / 'pareto.svg'
    write_atomic(path, picture)
    return f'{text}\nThe Pareto front: {path}'
