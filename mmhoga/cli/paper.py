"""What tools/model_zoo.py does: count every row of the paper's tables, and write what says so.

From :mod:`mmhoga.paper` and the configs come, in this order: ``configs/costs.json``, what each config costs; the
tables of ``docs/costs.md`` and of a ``README.md`` a folder of configs, between two marks; a ``metafile.yml`` a folder,
and ``model-index.yml``. All but the first are functions of the paper's numbers and of ``costs.json``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from mmhoga.cli.flops import count_config
from mmhoga.cli.run.errors import run
from mmhoga.files import write_atomic
from mmhoga.hosts import LaunchError, leaves, load_config
from mmhoga.paper import TABLES, Row, Table, rows

COSTS = 'configs/costs.json'
BEGIN = '<!-- Written by tools/model_zoo.py: do not edit below. -->'
END = '<!-- Up to here. -->'
NOT_MEASURED = 'not measured'
PAPER = {
    'Title': 'Auto Learning Attention',
    'URL': 'https://proceedings.neurips.cc/paper/2020',
}

Costs = Mapping[str, Any]


def zoo_main(argv: Sequence[str] | None = None) -> int:
    """Write the files and say which of them changed. Returns the exit code."""
    parser = argparse.ArgumentParser(
        description="Count what every row of the paper's tables costs, and write the tables and metafiles that say so."
    )
    parser.add_argument('--root', type=Path, default=Path.cwd(), help='the repository (default: this folder)')
    parser.add_argument('--keep-costs', action='store_true', help=f'take them from {COSTS} instead of counting')
    args = parser.parse_args(argv)

    def write() -> None:
        changed = write_zoo(args.root, keep_costs=args.keep_costs)
        print('\n'.join(changed) if changed else 'Everything is as it was.')

    return run(write)


def write_zoo(root: Path, *, keep_costs: bool = False) -> list[str]:
    """Write all files under ``root``, the repository; return those that changed.

    Args:
        keep_costs: take them from ``configs/costs.json`` instead of counting.
    """
    if not (root / 'configs').is_dir():
        raise LaunchError(f'{root} has no folder configs: run this in the repository.')
    files = {}
    if keep_costs:
        costs = read_costs(root)
    else:
        costs = {row.config: count_row(root, table, row) for table, row in rows()}
        files[COSTS] = json.dumps(costs, indent=1) + '\n'
    files.update(render(root, costs))
    changed = []
    for name, text in files.items():
        path = root / name
        if not path.exists() or path.read_text(encoding='utf-8') != text:
            write_atomic(path, text)
            changed.append(name)
    return changed


def read_costs(root: Path) -> dict[str, Any]:
    """``configs/costs.json``: by config, ``dict(params=..., macs=...)``, or None (see :func:`count_row`)."""
    return json.loads((root / COSTS).read_text(encoding='utf-8'))


def count_row(root: Path, table: Table, row: Row) -> dict[str, int] | None:
    """Parameters and MACs of a row's config; None if they depend on a genotype that a search has yet to find."""
    cfg = load_config(str(root / row.config))
    if any(key.endswith('.genotype') and value.endswith('.json') for key, value in leaves(cfg.model)):
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # how many proposals a two-stage detector keeps depends on its weights
        counted = count_config(cfg, table.shape)[1]['']
    return dict(params=counted.params, macs=int(counted.macs))  # a matrix product is counted in floats


def render(root: Path, costs: Costs) -> dict[str, str]:
    """The text of every file but ``costs.json``, by its path from ``root``; what stands above the marks is kept."""
    files = {'docs/costs.md': _between_marks(root / 'docs/costs.md', '\n'.join(_cost_tables(costs)))}
    folders = sorted({row.folder for _, row in rows()})
    for folder in folders:
        readme = f'{folder}/README.md'
        files[readme] = _between_marks(root / readme, '\n'.join(_folder_tables(folder, costs)))
        files[f'{folder}/metafile.yml'] = _yaml(_metafile(folder, costs))
    files['model-index.yml'] = _yaml({'Import': [f'{folder}/metafile.yml' for folder in folders]})
    return files


def header_facts(table: Table, row: Row, cost: Mapping[str, int] | None) -> str:
    """The lines of a config's docstring that say what it costs and what the paper has."""
    height, width = table.shape
    printed = '' if row.params is None else f' (paper: {row.params:.2f} M, {row.macs:.2f} G)'
    if cost is None:
        line = f'depends on the genotype{printed}.'
    else:
        line = f'{_params(cost)} M parameters, {_macs(cost)} GMACs at {height} x {width}{printed}.'
    if not row.result:
        result = 'no number.'
    elif table.metric == 'genotype':
        result = f'{row.result}.'
    else:
        name, _, unit = table.metric.partition(', ')
        result = f'{row.result} {unit + " " if unit else ""}{name}.'
    return f'Cost:   {line}\nPaper:  {result} Not measured here.'


def _cost_tables(costs: Costs) -> Iterator[str]:
    """Tables 1 to 6: ours beside the paper's."""
    for table in TABLES:
        if all(row.params is None for row in table.rows):
            continue
        yield f'\n### {table.heading}\n'
        yield '| model | params (M) | paper | difference | GMACs | paper | difference |'
        yield '|---|---|---|---|---|---|---|'
        for row in table.rows:
            cost, cells = costs[row.config], []
            for ours, printed in ((_params(cost), row.params), (_macs(cost), row.macs)):
                cells += [ours, f'{printed:.2f}', _difference(ours, printed)]
            yield f'| [{row.model}](../{row.config}) | {" | ".join(cells)} |'


def _folder_tables(folder: str, costs: Costs) -> Iterator[str]:
    for table in TABLES:
        inside = [row for row in table.rows if row.folder == folder]
        if not inside:
            continue
        height, width = table.shape
        yield f'\n## {table.heading}\n'
        yield f'| model | params (M) | GMACs, {height} x {width} | paper: {table.metric} | ours | config | command |'
        yield '|---|---|---|---|---|---|---|'
        for row in inside:
            cost = costs[row.config]
            link = f'[{row.name}]({row.name}.py)'
            cells = (row.model, _params(cost), _macs(cost), row.result or '-', NOT_MEASURED, link, f'`{row.command}`')
            yield f'| {" | ".join(cells)} |'


def _metafile(folder: str, costs: Costs) -> dict[str, Any]:
    collection = f'HOGA: {Path(folder).name}'
    models = []
    for table, row in rows():
        if row.folder != folder:
            continue
        metadata: dict[str, Any] = {'Training Data': table.dataset}
        cost = costs[row.config]
        if cost is not None:
            metadata.update({'FLOPs': cost['macs'], 'Parameters': cost['params']})
        if row.result:
            metadata['Paper'] = f'{table.metric}: {row.result}'
        models.append(
            {
                'Name': row.name,
                'In Collection': collection,
                'Metadata': metadata,
                'Results': None,  # not measured
                'Config': row.config,
            }
        )
    return {
        'Collections': [{'Name': collection, 'Paper': PAPER, 'README': f'{folder}/README.md'}],
        'Models': models,
    }


def _params(cost: Mapping[str, int] | None) -> str:
    return '-' if cost is None else f'{cost["params"] / 1e6:.2f}'


def _macs(cost: Mapping[str, int] | None) -> str:
    return '-' if cost is None else f'{cost["macs"] / 1e9:.2f}'


def _difference(ours: str, printed: float | None) -> str:
    if ours == '-' or printed is None:
        return '-'
    difference = round(float(ours) - printed, 2)
    return f'{difference:+.2f}' if difference else '0'


def _between_marks(path: Path, text: str) -> str:
    """The file with what stands between the marks replaced; a new file has the marks alone."""
    old = path.read_text(encoding='utf-8') if path.exists() else f'{BEGIN}\n{END}\n'
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise LaunchError(f'{path} lacks the marks between which its tables go: {BEGIN} and {END}')
    return f'{before}{BEGIN}\n{text}\n\n{END}{after}'


def _yaml(data: Mapping[str, Any]) -> str:
    return '# Written by tools/model_zoo.py.\n' + yaml.safe_dump(dict(data), sort_keys=False, width=120)
