"""``mmhoga COMMAND``: find the command, hand it the rest of the line."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from mmhoga.version import __version__

#: Heading -> command -> (module in :mod:`mmhoga.cli`, function, what the command is for).
COMMANDS: dict[str, dict[str, tuple[str, str, str]]] = {
    'Train and search': {
        'train': ('run.main', 'train_main', 'train or search from a config of any host'),
        'test': ('run.main', 'test_main', 'evaluate a checkpoint'),
        'demo': ('demo', 'demo_main', 'search on handwritten digits, compare with SE and CBAM, write a report'),
        'random-search': ('random_search', 'random_search_main', 'train random genotypes and rank them'),
        'repeat-search': ('repeat_search', 'repeat_search_main', 'repeat a search over seeds and compare the results'),
    },
    'Inspect': {
        'genotype': ('genotype', 'genotype_main', 'show, draw, validate, compare, count or convert genotypes'),
        'flops': ('flops', 'flops_main', 'count parameters and multiply-accumulates of a config'),
        'latency': ('latency', 'latency_main', 'measure the latency table of a cost-aware search'),
        'report': ('report', 'report_main', 'write an HTML report of runs'),
        'grad-cam': ('grad_cam', 'grad_cam_main', 'draw Grad-CAM and guided back-propagation'),
        'attention-maps': ('attention_maps', 'attention_maps_main', 'draw the gates of a HOGA cell for an image'),
        'selectivity': ('selectivity', 'selectivity_main', 'measure class selectivity per layer'),
        'tsne': ('tsne', 'tsne_main', 'embed features with t-SNE'),
        'paper': ('paper', 'paper_main', 'print the tables of the paper, with cost and command of each row'),
    },
    'Deploy and share': {
        'export': ('export', 'export_main', 'export a trained network to ONNX or torch.export'),
        'publish': ('publish', 'publish_main', 'strip a checkpoint to its weights and name it by its hash'),
    },
    'Data': {
        'browse': ('browse', 'browse_main', 'draw samples as a network receives them'),
        'make-data': ('make_data', 'shapes_main', 'generate data sets in COCO format'),
    },
}


def usage() -> str:
    """The page that ``mmhoga --help`` prints."""
    lines = ['usage: mmhoga COMMAND [arguments]', '', 'High Order Group Attention and its search, for OpenMMLab.']
    for heading, commands in COMMANDS.items():
        lines += ['', f'{heading}:', *(f'  {name:16}{text}' for name, (_, _, text) in commands.items())]
    return '\n'.join([*lines, '', 'mmhoga COMMAND --help lists the arguments of a command.'])


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, 2 if there is no such command."""
    name, *rest = [*(sys.argv[1:] if argv is None else argv), '']
    rest = rest[:-1]
    if name in ('', '-h', '--help'):
        print(usage())
        return 0 if name else 2
    if name == '--version':
        print(f'mmhoga {__version__}')
        return 0
    found = next((commands[name] for commands in COMMANDS.values() if name in commands), None)
    if found is None:
        print(f'mmhoga: there is no command {name!r}.\n\n{usage()}', file=sys.stderr)
        return 2
    module, function, _ = found
    return getattr(import_module(f'mmhoga.cli.{module}'), function)(rest)
