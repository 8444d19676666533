"""``mmhoga paper``: print the tables of the paper beside the costs of our configs.

The tables are in ``configs/paper.yml``, the costs in ``configs/costs.json``.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
import yaml

import mmhoga
from mmhoga.cli.costs import count_config
from mmhoga.cli.run.errors import run
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, leaves, load_config

PACKAGE = Path(mmhoga.__file__).parent
CHECKOUT = PACKAGE.parent / 'configs'
CONFIGS = CHECKOUT if (CHECKOUT / 'paper.yml').is_file() else PACKAGE / '.mim' / 'configs'  # the latter in a wheel
PREFACE = (
    'Parameters and multiply-accumulates (MACs) are counted from our configs, for one image of the size given.\n'
    'The columns "paper" and the results are what the paper prints. None of its results has been measured here.'
)


@dataclass(frozen=True)
class Row:
    """One row of a table. Numbers that the paper does not give are empty or None.

    Args:
        model: our name of the model.
        config: path of its config, relative to ``configs``.
        result: as printed in the paper.
        params: in millions.
        macs: in billions; the paper calls them FLOPS.
    """

    model: str
    config: str
    result: str = ''
    params: float | None = None
    macs: float | None = None

    @property
    def name(self) -> str:
        """The name of the config and of its work_dir."""
        return PurePosixPath(self.config).stem

    @property
    def command(self) -> str:
        """The command that trains it on as many GPUs as the config's name gives."""
        match = re.search(r'[_-](\d+)xb\d+', self.name)
        gpus = int(match[1]) if match else 8  # mmdet's schedules "1x" and "2x" are for 8 GPUs
        config = f'configs/{self.config}'
        return f'mmhoga train {config}' if gpus == 1 else f'tools/dist_train.sh {config} {gpus}'


@dataclass(frozen=True)
class Table:
    """A table of the paper, or a group of configs that the paper does not have.

    Args:
        key: the paper's number, or the name of the group.
        title: what the table compares.
        metric: name and unit of the rows' ``result``.
        shape: height and width of the image that costs are counted for.
        rows: in the paper's order.
    """

    key: int | str
    title: str
    metric: str
    shape: tuple[int, int]
    rows: tuple[Row, ...]

    @property
    def heading(self) -> str:
        """Number, title, and the size of the image."""
        number = f'Table {self.key}: ' if isinstance(self.key, int) else ''
        return f'{number}{self.title}, {self.shape[0]} x {self.shape[1]}'


def paper_main(argv: Sequence[str] | None = None) -> int:
    """Print the tables, or count their costs. Returns the exit code."""
    tables = read_tables()
    parser = argparse.ArgumentParser(
        prog='mmhoga paper',
        description='Print the tables of the paper: our costs beside its costs and results, and the commands to train.',
    )
    parser.add_argument(
        '--table', choices=list(dict.fromkeys(str(table.key) for table in tables)), help='print only this one'
    )
    parser.add_argument('--markdown', action='store_true', help='print Markdown, with configs instead of commands')
    parser.add_argument(
        '--count',
        action='store_true',
        help='count the costs of these tables again and write configs/costs.json; needs a checkout, takes minutes',
    )
    args = parser.parse_args(argv)
    chosen = [table for table in tables if args.table in (None, str(table.key))]

    def count_or_print() -> None:
        if args.count:
            print(f'{count_costs(chosen)} costs in {CONFIGS / "costs.json"} have changed.')
        else:
            print(format_tables(chosen, read_costs(), markdown=args.markdown))

    return run(count_or_print)


def read_tables() -> list[Table]:
    """The tables of ``configs/paper.yml``."""
    data = yaml.safe_load((CONFIGS / 'paper.yml').read_text(encoding='utf-8'))
    return [
        Table(**{**table, 'shape': tuple(table['shape']), 'rows': tuple(Row(**row) for row in table['rows'])})
        for table in data
    ]


def unique_rows(tables: Iterable[Table]) -> Iterator[tuple[Table, Row]]:
    """Each config once, with the first table that contains it."""
    seen = set()
    for table in tables:
        for row in table.rows:
            if row.config not in seen:
                seen.add(row.config)
                yield table, row


def read_costs() -> dict[str, Mapping[str, int] | None]:
    """``configs/costs.json``: ``params`` and ``macs`` by config; None if they depend on an unpublished genotype."""
    return json.loads((CONFIGS / 'costs.json').read_text(encoding='utf-8'))


def count_costs(tables: Iterable[Table]) -> int:
    """Count the configs of ``tables``, write ``configs/costs.json``, and return how many costs have changed.

    Raises:
        LaunchError: mmhoga does not run from a checkout.
    """
    if CONFIGS != CHECKOUT:
        raise LaunchError(f'--count writes to a checkout, and there is none around {PACKAGE}. Run it in a checkout.')
    before = read_costs()
    chosen = {row.config for table in tables for row in table.rows}
    after = {
        row.config: count_row(table, row) if row.config in chosen else before.get(row.config)
        for table, row in unique_rows(read_tables())
    }
    lines = ',\n'.join(f'{json.dumps(config)}: {json.dumps(cost)}' for config, cost in after.items())
    write_atomic(CONFIGS / 'costs.json', f'{{\n{lines}\n}}\n')
    return sum(before.get(config) != cost for config, cost in after.items())


def count_row(table: Table, row: Row) -> dict[str, int] | None:
    """Parameters and MACs of a config; None if they depend on a genotype that has to be searched first."""
    cfg = load_config(str(CONFIGS / row.config))
    if any(key.endswith('.genotype') and value.endswith('.json') for key, value in leaves(cfg.model)):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # the weights decide how many proposals a two-stage detector keeps
        total = count_config(cfg, table.shape)[1]['']
    return dict(params=total.params, macs=int(total.macs))


def format_tables(
    tables: Sequence[Table], costs: Mapping[str, Mapping[str, int] | None], *, markdown: bool = False
) -> str:
    """All tables as text or Markdown."""
    parts = [PREFACE]
    for table in tables:
        lines = _cells(table, costs, markdown)
        numbers = len(lines[0]) - 2  # between the model and the config or command
        if markdown:
            lines.insert(1, ['---', *['---:'] * numbers, '---'])
            parts += [f'### {table.heading}', '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)]
        else:
            widths = [max(map(len, column)) for column in zip(*lines)]
            pad = [str.ljust, *[str.rjust] * numbers, str.ljust]
            text = (
                '  '.join(justify(cell, width) for justify, cell, width in zip(pad, cells, widths)) for cells in lines
            )
            parts.append('\n'.join([table.heading, *map(str.rstrip, text)]))
    return '\n\n'.join(parts)


def _cells(table: Table, costs: Mapping[str, Mapping[str, int] | None], markdown: bool) -> list[list[str]]:
    """Header and rows; columns without any number are left out."""
    lines = [['model', 'params (M)', 'paper', 'MACs (G)', 'paper', table.metric, 'config' if markdown else 'command']]
    for row in table.rows:
        cost = costs.get(row.config) or {}
        params, macs = cost.get('params'), cost.get('macs')
        lines.append(
            [
                row.model,
                _figure(params and params / 1e6),
                _figure(row.params),
                _figure(macs and macs / 1e9),
                _figure(row.macs),
                row.result or '-',
                f'`{row.config}`' if markdown else row.command,
            ]
        )
    columns = [column for column in zip(*lines) if set(column[1:]) != {'-'}]
    return [list(cells) for cells in zip(*columns)]


def _figure(value: float | None) -> str:
    """Two decimals as in the paper, or two digits of a smaller number."""
    if value is None:
        return '-'
    return f'{value:.2f}' if value >= 0.01 else f'{value:.2g}'
