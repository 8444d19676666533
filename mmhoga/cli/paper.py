"""``mmhoga paper``: print the tables of the paper (``configs/paper.yml``) and our costs (``configs/costs.json``)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import yaml

from mmhoga.cli.costs import count_config
from mmhoga.cli.run.arguments import command_parser
from mmhoga.cli.run.errors import run
from mmhoga.cli.values import format_table
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, leaves, load_config, shipped_configs

CONFIGS = shipped_configs()
PREFACE = (
    'Parameters and multiply-accumulates (MACs) are counted from our configs, for one image of the size given.\n'
    'The columns "paper" and the results are what the paper prints. None of its results has been measured here.'
)
Table = Mapping[str, Any]  # with the keys that the comment in configs/paper.yml describes
Row = Mapping[str, Any]
Costs = dict[str, Any]  # config -> {'params': ..., 'macs': ...}, or None if they depend on an unpublished genotype


def paper_main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or count their costs. Returns the exit code: 2 for bad input."""
    tables = read_tables()
    parser = command_parser(
        'Print the tables of the paper: our costs beside its costs and results, and the commands to train.',
        'mmhoga paper --table 4',
    )
    keys = list(dict.fromkeys(str(table['key']) for table in tables))  # Table 7 has two parts
    parser.add_argument('--table', choices=keys, help='print only this one')
    parser.add_argument('--markdown', action='store_true', help='print Markdown, with configs instead of commands')
    count_help = 'count the costs of these tables again and write configs/costs.json; needs a checkout, takes minutes'
    parser.add_argument('--count', action='store_true', help=count_help)
    args = parser.parse_args(argv)
    chosen = [table for table in tables if args.table in (None, str(table['key']))]
    if args.count:
        return run(lambda: print(f'{count_costs(chosen)} costs in {CONFIGS / "costs.json"} have changed.'))
    return run(lambda: print(format_tables(chosen, read_costs(), markdown=args.markdown)))


def read_tables() -> list[Table]:
    """The tables of ``configs/paper.yml``."""
    return yaml.safe_load((CONFIGS / 'paper.yml').read_text(encoding='utf-8'))


def read_costs() -> Costs:
    return json.loads((CONFIGS / 'costs.json').read_text(encoding='utf-8'))


def unique_rows(tables: Iterable[Table]) -> list[tuple[Table, Row]]:
    """Each config once, with the first table that contains it."""
    rows: dict[str, tuple[Table, Row]] = {}
    for table in tables:
        for row in table['rows']:
            rows.setdefault(row['config'], (table, row))
    return list(rows.values())


def train_command(config: str) -> str:
    """The command that trains a config on as many GPUs as its name gives."""
    match = re.search(r'[_-](\d+)xb\d+', config)
    gpus = int(match[1]) if match else 8  # mmdet's schedules "1x" and "2x" are for 8 GPUs
    return f'mmhoga train configs/{config}' if gpus == 1 else f'tools/dist_train.sh configs/{config} {gpus}'


def count_costs(tables: Iterable[Table]) -> int:
    """Count the configs of ``tables``, write ``configs/costs.json``, and return how many costs have changed.

    Raises:
        LaunchError: the configs are not in a checkout.
    """
    if CONFIGS.parent.name == '.mim':
        raise LaunchError(
            f'--count writes to a checkout, but {CONFIGS} is part of an installation. Run it in a checkout.'
        )
    before = read_costs()
    counted = {row['config']: count_row(table, row) for table, row in unique_rows(tables)}
    configs = [row['config'] for _, row in unique_rows(read_tables())]
    after = {config: counted.get(config, before.get(config)) for config in configs}
    lines = ',\n'.join(f'{json.dumps(config)}: {json.dumps(cost)}' for config, cost in after.items())
    write_atomic(CONFIGS / 'costs.json', f'{{\n{lines}\n}}\n')
    return sum(before.get(config) != cost for config, cost in after.items())


def count_row(table: Table, row: Row) -> dict[str, int] | None:
    """Parameters and MACs of a config; None if they depend on a genotype that has to be searched first."""
    cfg = load_config(str(CONFIGS / row['config']))
    if any(key.endswith('.genotype') and value.endswith('.json') for key, value in leaves(cfg.model)):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the weights decide how many proposals a two-stage detector keeps
        total = count_config(cfg, tuple(table['shape']))[1]['']
    return dict(params=total.params, macs=int(total.macs))


def format_tables(tables: Sequence[Table], costs: Costs, *, markdown: bool = False) -> str:
    """All tables as text or Markdown. Columns without any number are left out."""
    parts = [PREFACE]
    for table in tables:
        last = 'config' if markdown else 'command'
        rows = [['model', 'params (M)', 'paper', 'MACs (G)', 'paper', table['metric'], last]]
        for row in table['rows']:
            config, cost = row['config'], costs.get(row['config']) or {}
            counted, printed = _two_decimals(cost.get('params'), 1e6), _two_decimals(row.get('params'))
            macs, printed_macs = _two_decimals(cost.get('macs'), 1e9), _two_decimals(row.get('macs'))
            last = f'`{config}`' if markdown else train_command(config)
            rows.append([row['model'], counted, printed, macs, printed_macs, row.get('result', '-'), last])
        columns = [column for column in zip(*rows) if set(column[1:]) != {'-'}]
        rows = [list(cells) for cells in zip(*columns)]
        number = f'Table {table["key"]}: ' if isinstance(table['key'], int) else ''
        heading = '{}{}, {} x {}'.format(number, table['title'], *table['shape'])
        if markdown:
            rows.insert(1, ['---', *['---:'] * (len(columns) - 2), '---'])
            parts += [f'### {heading}', '\n'.join(f'| {" | ".join(cells)} |' for cells in rows)]
        else:
            parts.append(f'{heading}\n{format_table(rows)}')
    return '\n\n'.join(parts)


def _two_decimals(value: float | None, unit: float = 1) -> str:
    """Two decimals as in the paper, or two digits of a number below 0.01."""
    if value is None:
        return '-'
    return f'{value / unit:.2f}' if value / unit >= 0.01 else f'{value / unit:.2g}'
