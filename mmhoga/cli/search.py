"""``mmhoga search``: search an attention in the network of a training config, and train the network with it."""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import barrier, is_main_process

from mmhoga.cli.costs import three_digits
from mmhoga.cli.run import distributed
from mmhoga.cli.run.arguments import ConfigOptions
from mmhoga.cli.run.errors import run
from mmhoga.cli.run.runner import run_parser
from mmhoga.cli.searched_training import add_place_options, read_training
from mmhoga.cli.train import add_training_options, run_training, set_training_arguments, train_config
from mmhoga.cli.values import not_negative, output_file, positive, seed
from mmhoga.files import write_atomic
from mmhoga.genotype import Genotype
from mmhoga.hosts import LaunchError
from mmhoga.insertion import PlaceError
from mmhoga.report.comparison import pick_metric
from mmhoga.report.runs import read_run
from mmhoga.search import SearchError, search_config
from mmhoga.search.derived import derived_model
from mmhoga.search.from_training import DEFAULTS
from mmhoga.search.records.history import placement_text, read_history, read_json
from mmhoga.search.selection.results import WEIGHTS


def search_parser() -> argparse.ArgumentParser:
    parser = run_parser(
        'Search an attention in the network and on the data of a training config, of mmdet, mmpretrain, mmpose or '
        'mmhoga. Its mmhoga.HOGA cells become supernets, and halves of its training set train weights and alpha. All '
        "defaults are the paper's (section 4.2). The search writes train.py to the work_dir: the training config with "
        'the genotype that it found.',
        'mmhoga search hoga-resnet8_1xb96-8e_digits --epochs 8 --lr 0.1 --alpha-lr 0.03 --then train',
        work_dir='work_dirs/CONFIG-search',
    )
    resume = 'continue the search, or the training after it, where it was stopped; without a checkpoint, start'
    parser.add_argument('--resume', action='store_const', const='auto', help=resume)
    then_help = 'also train the network with the genotype, in WORK_DIR/train'
    parser.add_argument('--then', choices=('train',), help=then_help)
    weights_help = 'from which weights train.py starts: scratch, as its config says, or those of the supernet'
    parser.add_argument(
        '--weights', choices=('scratch', 'supernet'), default='scratch', help=f'{weights_help} (scratch)'
    )
    dump_help = 'write the config of the search to FILE, and do not run it; mmhoga train FILE runs it'
    parser.add_argument('--dump-config', type=output_file('.py'), metavar='FILE.py', help=dump_help)
    add_training_options(parser)
    _add_choices(parser.add_argument_group('the search'))
    add_place_options(parser)
    return parser


def _add_choices(group: Any) -> None:
    """One option for each choice of :func:`mmhoga.search.search_config`."""

    def add(name: str, text: str, **settings: Any) -> None:
        default = DEFAULTS[name]
        shown = ' '.join(map(str, default)) if isinstance(default, tuple) else default
        suffix = '' if default is None or default is False else f' (default: {shown})'
        group.add_argument(f'--{name.replace("_", "-")}', default=default, help=text + suffix, **settings)

    number, count = positive(float), positive(int)
    add('epochs', '(default: 100; with --optimizer training those of the training)', type=count, metavar='N')
    add('num_groups', 'K (default: that of the genotype in CONFIG)', type=count, metavar='K')
    add('primitives', 'the candidates (default: all)', nargs='+', metavar='NAME')
    add('alpha_per', 'one alpha for the model, or one per stage of the backbone', choices=('model', 'stage'))
    add('stage_pattern', 'regular expression for the stage in the name of a cell', metavar='PATTERN')
    add('val_loss', 'also compute the loss on the validation data', action='store_true')
    cost = "cost term of alpha's loss, for example metric=macs weight=0.1 input_shape=[3,224,224] (default: none)"
    add('cost', cost, nargs='+', action=ConfigOptions, metavar='KEY=VALUE')
    placement = 'also search which blocks get an attention; with num_groups=[2,4] of which K, with keep=3 of 3 blocks'
    add('placement', placement, nargs='*', action=ConfigOptions, metavar='KEY=VALUE')
    add('fraction', 'share of the training set in trainA, for the weights', type=number, metavar='F')
    add('split_seed', 'seed of the split', type=seed, metavar='N')
    add('seed', 'seed of the search (default: that of CONFIG)', type=seed, metavar='N')
    add('batch_size', 'images of trainA per step and process (default: that of CONFIG)', type=count, metavar='N')
    add('alpha_batch_size', 'images of trainB (default: as many as of trainA)', type=count, metavar='N')
    optimizer = "of the weights: the paper's SGD, set by the next five options, or that of CONFIG with its schedule"
    add('optimizer', optimizer, choices=('paper', 'training'))
    add('lr', 'learning rate of the weights', type=number, metavar='X')
    add('min_lr', 'at the end of the cosine', type=float, metavar='X')
    add('momentum', 'momentum of the weights', type=float, metavar='X')
    add('weight_decay', 'weight decay of the weights', type=float, metavar='X')
    add('clip_grad', 'largest norm of the gradient of the weights; 0 for no limit', type=float, metavar='X')
    add('alpha_lr', 'learning rate of alpha', type=number, metavar='X')
    add('alpha_betas', 'betas of Adam on alpha', type=float, nargs=2, metavar='X')
    add('alpha_weight_decay', 'weight decay of alpha', type=float, metavar='X')
    add('order', "of alpha's gradient", type=int, choices=(1, 2))
    add('hessian', 'of the second order', choices=('finite_difference', 'exact'))
    add('unroll', 'of the second order in several processes', choices=('local', 'joint'))
    add('warmup_epochs', 'epochs at the start that train only the weights', type=not_negative, metavar='N')
    temperature = 'of the mix: one number, or the first and the last, between which it falls by equal steps'
    add('temperature', temperature, type=number, nargs='+', action=Temperature, metavar='T')
    add('sampling', 'of the mix: softmax, or Gumbel samples of one candidate (GDAS)', choices=('softmax', 'gumbel'))
    selection = 'how the genotype is chosen at the end: argmax (the default), score candidates=20, perturbation, ...'
    add('selection', selection, nargs='+', action=Selection, metavar='METHOD')


class Selection(ConfigOptions):
    """The method, then its options as ``KEY=VALUE``."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        super().__call__(parser, namespace, [f'method={values[0]}', *values[1:]], option_string)


class Temperature(argparse.Action):
    """One number, or two for ``dict(start=..., end=...)``."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        if len(values) > 2:
            parser.error(f'{option_string} takes one or two numbers, not {len(values)}')
        value = values[0] if len(values) == 1 else {'start': values[0], 'end': values[1]}
        setattr(namespace, self.dest, value)


def search_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 2 for bad input, 130 after Ctrl-C; 143 after a SIGTERM in the search."""
    args = search_parser().parse_args(argv)
    return run(lambda: _search(args), SearchError, PlaceError)


def _search(args: argparse.Namespace) -> None:
    training = read_training(args)
    notes: list[str] = []
    choices = {name: getattr(args, name) for name in DEFAULTS}
    choices['clip_grad'] = args.clip_grad or None
    search = search_config(training, **choices, log=notes.append)
    if args.dump_config:
        _write(args.dump_config, _text(search, [f'Search in {args.config}. Written by mmhoga search.', *notes]))
        print(f'Wrote {args.dump_config}. Next:\n\n    mmhoga train {args.dump_config}')
        return
    args.work_dir = args.work_dir or str(Path('work_dirs') / f'{Path(training.filename).stem}-search')
    work_dir = Path(args.work_dir)
    if args.then:
        set_training_arguments(copy.deepcopy(training), _training_arguments(args))  # errors before the search
    try:
        if not (args.resume and _is_done(work_dir, search.train_cfg.max_epochs)):
            notes += set_training_arguments(search, args)
            run_training(search, notes, last=False)
            if is_main_process():
                _write(work_dir / 'train.py', _derived(training, args))
            barrier()
        if args.then:
            run_training(*train_config(_training_arguments(args)), last=False)
        if is_main_process():
            print(_report(work_dir, args))
    finally:
        distributed.leave()


def _is_done(work_dir: Path, epochs: int) -> bool:
    """Whether a search of at least this many epochs has ended, which writes train.py."""
    records = [*work_dir.glob('search_history.json'), *work_dir.glob('*/search_history.json')]
    if not records or not (work_dir / 'train.py').is_file():
        return False
    try:
        return read_history(records[0]).epochs[-1] >= epochs
    except (ValueError, IndexError):  # spoilt; the search resumes and writes it again from its checkpoint
        return False


def _derived(training: Config, args: argparse.Namespace) -> str:
    """The training config with the genotype of the search."""
    derived = copy.deepcopy(training)
    derived.model = derived_model(training.model, args.work_dir)
    derived.pop('work_dir', None)
    text = f'{args.config} with the genotype of the search in this folder. Written by mmhoga search.'
    if args.weights == 'scratch':
        return _text(derived, [text])
    if not (Path(args.work_dir) / WEIGHTS).is_file():
        raise SearchError(f'--weights supernet: the search wrote no {WEIGHTS}. Choose --weights scratch.')
    derived.pop('load_from', None)
    return f"{_text(derived, [text])}\nload_from = '{{{{ fileDirname }}}}/{WEIGHTS}'\n"


def _training_arguments(args: argparse.Namespace) -> argparse.Namespace:
    """The command line of the training after the search."""
    work_dir = Path(args.work_dir)
    changed = dict(config=str(work_dir / 'train.py'), work_dir=str(work_dir / 'train'), cfg_options=None)
    return argparse.Namespace(**{**vars(args), **changed})


def _report(work_dir: Path, args: argparse.Namespace) -> str:
    """The genotypes and their costs, the metric of the training, and the folders."""
    lines = ['']
    for record in sorted([*work_dir.glob('search_history.json'), *work_dir.glob('*/search_history.json')]):
        last = read_json(record)['epochs'][-1]
        stage = '' if record.parent == work_dir else f' of {record.parent.name}'
        genotype = Genotype.load(record.parent / 'genotype.json')
        lines += [f'Genotype{stage} after {last["epoch"]} epochs of search, {record.parent / "genotype.json"}:']
        lines += [f'    {line}' for line in str(genotype).splitlines()]
        if 'params' in last:
            params, macs = three_digits(last['params'] / 1e3), three_digits(last['macs'] / 1e6)
            lines += [f'    its edges, in all cells: {params} k parameters, {macs} M MACs per image']
        if 'placement' in last:
            lines += [f'    {placement_text(last["placement"])}']
    if not args.then:
        command = f'mmhoga train {work_dir / "train.py"} --work-dir {work_dir / "train"}'
        return '\n'.join([*lines, f'To train the network with it:\n\n    {command}'])
    trained = read_run(work_dir / 'train')
    metric = pick_metric([trained])
    value = None if metric is None else trained.final(metric.key)
    if metric is not None and value is not None:
        lines.append(f'Trained with it: {metric.key} {metric.format(value)} at the end of {work_dir / "train"}.')
    else:
        lines.append(f'Trained with it, without validation, in {work_dir / "train"}.')
    return '\n'.join(lines)


def _text(cfg: Config, comments: Sequence[str]) -> str:
    return ''.join(f'# {comment}\n' for comment in comments) + cfg.pretty_text


def _write(path: Path, text: str) -> None:
    try:
        write_atomic(path, text)
    except OSError as error:
        raise LaunchError(f'{path} cannot be written: {error.strerror}.') from error
