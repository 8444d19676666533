"""``mmhoga COMMAND``: the table of commands, and the function that runs one."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from mmhoga.cli.doctor.packages import CHECKS, remedy_for
from mmhoga.version import __version__

#: Heading -> command -> (module in :mod:`mmhoga.cli`, function, purpose).
COMMANDS: dict[str, dict[str, tuple[str, str, str]]] = {
    'Train and search': {
        'train': ('train', 'train_main', 'train a network, or search an attention, from a config'),
        'search': ('search', 'search_main', 'search an attention for the network of a training config, and train it'),
        'test': ('test', 'test_main', 'evaluate a checkpoint'),
        'select': ('select', 'select_main', 'choose the genotype of a finished search in another way'),
        'insert': ('insert', 'insert_main', 'add an attention to a trained network, and check that nothing changes'),
        'demo': ('demo', 'demo_main', 'search on handwritten digits, compare with SE and CBAM, write a report'),
        'random-search': ('trials', 'random_search_main', 'train random genotypes and rank them'),
        'study': ('study', 'study_main', 'search genotypes by training or scoring each, with Optuna'),
        'repeat-search': ('trials', 'repeat_search_main', 'repeat a search over seeds and compare the results'),
    },
    'Inspect': {
        'genotype': ('genotype', 'genotype_main', 'show, draw, validate, compare, count or convert genotypes'),
        'flops': ('costs', 'flops_main', 'count parameters and multiply-accumulates of a config'),
        'places': ('places', 'places_main', 'list where an attention can be inserted, and its cost there'),
        'latency': ('costs', 'latency_main', 'measure the latency table of a cost-aware search'),
        'report': ('report', 'report_main', 'write an HTML report of runs'),
        'grad-cam': ('looks.images', 'grad_cam_main', 'draw Grad-CAM and guided back-propagation'),
        'attention-maps': ('looks.images', 'attention_maps_main', 'draw the gates of a HOGA cell for an image'),
        'selectivity': ('looks.features', 'selectivity_main', 'measure class selectivity per layer'),
        'tsne': ('looks.features', 'tsne_main', 'embed features with t-SNE'),
        'paper': ('paper', 'paper_main', 'print the tables of the paper, with cost and command of each row'),
    },
    'Deploy and share': {
        'export': ('export', 'export_main', 'export a trained network to ONNX or torch.export'),
        'publish': ('export', 'publish_main', 'strip a checkpoint to its weights and name it by its hash'),
    },
    'Data': {
        'browse': ('browse', 'browse_main', 'draw samples as a network receives them'),
        'make-data': ('make_data', 'make_data_main', 'generate small data sets in COCO format'),
    },
    'Installation': {
        'doctor': ('doctor.command', 'doctor_main', 'check the installation, and print what mends it'),
    },
}

_HEAD = """usage: mmhoga COMMAND [arguments]

High Order Group Attention and its search, for OpenMMLab.
"""
_TAIL = """CONFIG arguments take a path, or the name of a config that comes with mmhoga:
  mmhoga train hoga-resnet8_1xb96-8e_digits

mmhoga COMMAND --help describes a command. mmhoga --version prints the version."""


def usage() -> str:
    """The page that ``mmhoga --help`` prints."""
    lines = [_HEAD]
    for heading, commands in COMMANDS.items():
        lines += [f'{heading}:', *(f'  {name:16}{purpose}' for name, (_, _, purpose) in commands.items()), '']
    return '\n'.join([*lines, _TAIL])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code: 2 if there is no such command, 141 (SIGPIPE) after ``| head``."""
    try:
        try:
            return _run(sys.argv[1:] if argv is None else argv)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # nobody reads the output any more
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for Python's own flush at exit
        return 141


def _run(argv: Sequence[str]) -> int:
    name, *rest = argv or ['']
    if name in ('', '-h', '--help', 'help'):
        print(usage(), file=sys.stdout if name else sys.stderr)
        return 0 if name else 2
    if name == '--version':
        print(f'mmhoga {__version__}')
        return 0
    commands = {command: entry for section in COMMANDS.values() for command, entry in section.items()}
    if name not in commands:
        near = difflib.get_close_matches(name, commands, n=2)
        hint = f'Did you mean {" or ".join(near)}?' if near else 'mmhoga --help lists the commands.'
        print(f'error: there is no command {name!r}. {hint}', file=sys.stderr)
        return 2
    module, function, _ = commands[name]
    sys.argv[0] = f'mmhoga {name}'  # the program's name in the command's --help and errors
    try:
        command = getattr(import_module(f'mmhoga.cli.{module}'), function)
    except ModuleNotFoundError as error:
        check = next((check for check in CHECKS.values() if error.name in check.modules), None)
        if check is None:
            raise
        _, remedy = remedy_for(str(error), error.name, check)
        print(f'error: mmhoga {name} needs {error.name}, which is not installed: {remedy}', file=sys.stderr)
        return 2
    return command(rest)
