"""The command ``mmhoga doctor``: runs the checks one by one and prints each result with the command that mends it."""

from __future__ import annotations

import json
import logging
import os
import platform
import sys
import textwrap
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from mmhoga.cli.doctor.checks import NotApplicable, StandInUsed
from mmhoga.cli.doctor.packages import CHECKS, LISTED, Check, conflicts, remedy_for
from mmhoga.cli.run.arguments import command_parser
from mmhoga.compat.packages import installed
from mmhoga.version import __version__

WIDTH = 110
LABELS = {'ok': 'ok', 'stand-in': 'stand-in', 'absent': 'absent', 'broken': 'BROKEN'}
#: Exit code 1 also if these are only absent.
ESSENTIAL = ('torch', 'mmengine')


def doctor_main(argv: Sequence[str] | None = None) -> int:
    """Run the command. Returns the exit code: 1 if something is broken, or if torch or mmengine is absent."""
    purpose = (
        'Check the installation: what works, what mmhoga stands in for, what will not work, and the command that\n'
        'mends it. Tries a cell, a step of a search and a checkpoint on tiny data, and a GPU against the CPU.'
    )
    parser = command_parser(purpose, 'mmhoga doctor')
    parser.add_argument('--json', action='store_true', help='print JSON, for an issue or a script')
    args = parser.parse_args(argv)
    start = time.perf_counter()
    report: dict[str, Any] = {'package': str(Path(__file__).resolve().parents[2]), 'versions': _versions()}
    if not args.json:
        print(_heading(report), end='\n\n', flush=True)
    checks = report['checks'] = []
    with _silence():
        for check in _results():
            checks.append(check)
            if not args.json:
                print(_entry(check), flush=True)
        accelerator = report['accelerator'] = _accelerator()
    failed = report['failed'] = [
        check['name']
        for check in checks
        if check['status'] == 'broken' or (check['status'] == 'absent' and check['name'] in ESSENTIAL)
    ]
    notes = report['notes'] = (
        []
        if accelerator or 'torch' in failed
        else ['no GPU was found. Networks run on the CPU in float32; --amp and CUDA timings need a GPU.']
    )
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        if accelerator:
            print(_fill('\nGPU: ', ', '.join(f'{key} {value}' for key, value in accelerator.items())))
        print(*(_fill('\nnote: ', note) for note in notes), sep='\n', end='\n')
        print(f'\n{_verdict(checks, failed)} Took {time.perf_counter() - start:.0f} s.')
    return 1 if failed else 0


@contextmanager
def _silence() -> Iterator[None]:
    """Without warnings and log messages of the packages, which would mix with the output."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(before)


def _results() -> Iterator[dict[str, Any]]:
    """The result of each check that applies: name, ok, status, detail, remedy."""
    for package, (versions, remedy) in conflicts().items():
        both = ' and '.join(f'{name} {version}' for name, version in versions.items())
        detail = f'{both} are both installed, and one has overwritten files of the other'
        yield dict(name=f'one {package}', ok=False, status='broken', detail=detail, remedy=remedy)
    for name, check in CHECKS.items():
        result = _run(check)
        if result is not None:
            yield {'name': name, 'ok': result['status'] in ('ok', 'stand-in'), **result}


def _run(check: Check) -> dict[str, str] | None:
    """Status and detail, and a remedy if it failed. None if the check does not apply here."""
    try:
        for module in check.modules:
            import_module(module)
        if not check.test:
            return {'status': 'ok', 'detail': ''}
        file, function = check.test.split('.')
        return {'status': 'ok', 'detail': getattr(import_module(f'mmhoga.cli.doctor.{file}'), function)()}
    except NotApplicable:
        return None
    except StandInUsed as note:
        return {'status': 'stand-in', 'detail': str(note)}
    except Exception as error:  # a broken package may raise anything
        text = ' '.join(f'{type(error).__name__}: {error}'.split())
        absent = error.name if isinstance(error, ModuleNotFoundError) else None
        cause, remedy = remedy_for(text, absent, check)
        if absent in check.modules:
            return {'status': 'absent', 'detail': cause, 'remedy': remedy}
        if absent is not None and any(absent in other.modules[:2] for other in CHECKS.values()):
            return {'status': 'absent', 'detail': f'needs {absent}', 'remedy': remedy}
        return {'status': 'broken', 'detail': f'{text[:400]}{cause and f". Cause: {cause}"}', 'remedy': remedy}


def _accelerator() -> dict[str, Any]:
    """The description of the GPU. Empty without a GPU, or if it cannot be described."""
    try:
        return import_module('mmhoga.cli.doctor.accelerator').describe()
    except Exception:  # the check of the accelerator has the error
        return {}


def _versions() -> dict[str, str]:
    return {
        'mmhoga': __version__,
        'python': platform.python_version(),
        'system': platform.platform(),
        'executable': sys.executable,
        'cores': str(os.cpu_count()),
        **installed(*LISTED),
    }


def _heading(report: dict[str, Any]) -> str:
    versions = dict(report['versions'])
    mmhoga, python, system, executable, cores = (
        versions.pop(key) for key in ('mmhoga', 'python', 'system', 'executable', 'cores')
    )
    return '\n'.join(
        [
            f'mmhoga {mmhoga}  {report["package"]}',
            f'Python {python}  {executable}',
            f'{system}, {cores} cores',
            _fill('', ', '.join(f'{name} {version}' for name, version in versions.items())),
        ]
    )


def _fill(first: str, text: str, indent: str = '') -> str:
    return textwrap.fill(text, WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False)


def _entry(check: dict[str, Any]) -> str:
    """A check in one line or more: label, name, detail, and the remedy below."""
    margin = ' ' * 35
    first = f'{LABELS[check["status"]]:9}{check["name"]:26}'
    lines = [_fill(first, check['detail'], margin) if check['detail'] else first.rstrip()]
    if 'remedy' in check:
        lines.append(f'{margin}-> {check["remedy"]}')
    return '\n'.join(lines)


def _verdict(checks: Sequence[dict[str, Any]], failed: Sequence[str]) -> str:
    if failed:
        return f'{len(failed)} of {len(checks)} checks failed ({", ".join(failed)}): each has a command after ->.'
    absent = [check['name'] for check in checks if check['status'] == 'absent']
    return 'All that is installed works.' + (f' Absent, if you need it: {", ".join(absent)}.' if absent else '')
