"""Run the cells of a notebook and store what they print and draw, without Jupyter.

    python docs/notebooks/execute.py docs/notebooks/add_attention.ipynb

As in Jupyter, all cells share one namespace, and a cell shows its prints, the value of its last line, and the figures
that it left open. Magics and rich outputs other than figures are not supported. Pictures that a page shows too are
written to docs/images.
"""

import ast
import base64
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use('Agg')

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from mmhoga.files import write_atomic

DPI = 75  # of pictures, for a small file


def execute(notebook: dict[str, Any]) -> None:
    """Run the code cells in order and replace their outputs, in place."""
    namespace: dict[str, Any] = {'__name__': '__main__'}
    cells = [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']
    for count, cell in enumerate(cells, start=1):
        cell['execution_count'] = count
        cell['outputs'] = run(''.join(cell['source']), namespace, count)


def run(source: str, namespace: dict[str, Any], count: int) -> list[dict[str, Any]]:
    """The outputs of one cell, in the notebook format 4."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    value, printed = None, io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(ast.Module(body, []), f'cell {count}', 'exec'), namespace)
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f'cell {count}', 'eval'), namespace)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append(dict(output_type='stream', name='stdout', text=printed.getvalue().splitlines(keepends=True)))
    if value is not None:
        outputs.append(dict(output_type='execute_result', execution_count=count, metadata={}, data=show(value)))
    for number in plt.get_fignums():
        outputs.append(dict(output_type='display_data', metadata={}, data=show(plt.figure(number))))
    plt.close('all')
    return outputs


def show(value: Any) -> dict[str, Any]:
    """The representations of a value, by MIME type."""
    if not isinstance(value, Figure):
        return {'text/plain': repr(value).splitlines(keepends=True)}
    picture = io.BytesIO()
    value.savefig(picture, format='png', dpi=DPI, bbox_inches='tight', facecolor='white')
    return {'image/png': base64.b64encode(picture.getvalue()).decode(), 'text/plain': ['<Figure>']}


def pictures(notebook: dict[str, Any]) -> dict[str, bytes]:
    """The pictures that pages show too: those of cells with ``picture``, a path, in their metadata."""
    return {
        cell['metadata']['picture']: base64.b64decode(output['data']['image/png'])
        for cell in notebook['cells']
        if 'picture' in cell['metadata']
        for output in cell['outputs']
    }


def main(path: Path) -> None:
    notebook = json.loads(path.read_text(encoding='utf-8'))
    execute(notebook)
    write_atomic(path, json.dumps(notebook, indent=1, ensure_ascii=False) + '\n')
    for name, picture in pictures(notebook).items():
        write_atomic(path.parent / name, picture)


if __name__ == '__main__':
    main(Path(sys.argv[1]))
