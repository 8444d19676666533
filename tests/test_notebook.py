"""The notebook of docs/: it runs, its stored outputs are of this code, and the pages show its pictures."""

import base64
import json
import re
import subprocess
from pathlib import Path

import pytest
from warm_python import warm_python

pytest.importorskip('sklearn')
pytest.importorskip('matplotlib')

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / 'docs' / 'notebooks' / 'add_attention.ipynb'
EXECUTE = ROOT / 'docs' / 'notebooks' / 'execute.py'
FULL, QUICK = 'SEEDS, EPOCHS = 3, 6', 'SEEDS, EPOCHS = 1, 1'


def read(path):
    return json.loads(path.read_text(encoding='utf-8'))


def code_cells(notebook):
    return [cell for cell in notebook['cells'] if cell['cell_type'] == 'code']


def shown(cell):
    """The outputs of a cell: their kinds, and its text without numbers."""
    outputs = cell['outputs']
    text = [''.join(output.get('text', [])) for output in outputs]
    kinds = [(output['output_type'], *sorted(output.get('data', {}))) for output in outputs]
    return kinds, re.sub(r'\d+(\.\d+)?', '0', ''.join(text))


def pictures(notebook):
    """The PNG of each output by the path in the metadata of its cell, or by the cell's id."""
    return {
        cell['metadata'].get('picture', cell['id']): base64.b64decode(output['data']['image/png'])
        for cell in code_cells(notebook)
        for output in cell['outputs']
        if 'image/png' in output.get('data', {})
    }


def test_the_notebook_runs(tmp_path):
    """With one seed and one epoch. Its assertions hold, and each cell shows what the stored one shows."""
    stored, folder = read(NOTEBOOK), tmp_path / 'notebooks'
    folder.mkdir()
    (tmp_path / 'images').mkdir()
    text = NOTEBOOK.read_text(encoding='utf-8')
    assert text.count(FULL) == 1
    (folder / NOTEBOOK.name).write_text(text.replace(FULL, QUICK), encoding='utf-8')
    done = subprocess.run(
        [warm_python(), '-W', 'ignore', EXECUTE, NOTEBOOK.name],
        cwd=folder,
        env={'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1', 'MPLCONFIGDIR': str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    fresh = read(folder / NOTEBOOK.name)
    for cell, now in zip(code_cells(stored), code_cells(fresh)):
        assert shown(cell) == shown(now), cell['id']
    for name, picture in pictures(fresh).items():
        if '/' in name:
            assert (folder / name).read_bytes() == picture


def test_pages_show_the_pictures_of_the_notebook():
    page = (ROOT / 'docs' / 'add_to_your_network.md').read_text(encoding='utf-8')
    stored = {name: picture for name, picture in pictures(read(NOTEBOOK)).items() if '/' in name}
    assert len(stored) == 2
    for name, picture in stored.items():
        assert (NOTEBOOK.parent / name).read_bytes() == picture
        assert f'](images/{Path(name).name})' in page


def test_the_page_has_the_numbers_of_the_notebook():
    page = (ROOT / 'docs' / 'add_to_your_network.md').read_text(encoding='utf-8')
    (cell,) = (cell for cell in code_cells(read(NOTEBOOK)) if cell['id'] == 'curves')
    printed = ''.join(cell['outputs'][0]['text']).splitlines()
    assert len(printed) == 4
    assert '\n'.join(f'    {line}' for line in printed) in page


def test_the_file_is_a_small_notebook():
    """Format 4.5, which Jupyter and the code hosts read, without paths of the machine where it ran."""
    notebook, text = read(NOTEBOOK), NOTEBOOK.read_text(encoding='utf-8')
    assert (notebook['nbformat'], notebook['nbformat_minor']) == (4, 5)
    ids = [cell['id'] for cell in notebook['cells']]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r'[\w-]{1,64}', name) for name in ids)
    for cell in notebook['cells']:
        code = {'outputs', 'execution_count'} if cell['cell_type'] == 'code' else set()
        assert set(cell) == {'cell_type', 'id', 'metadata', 'source'} | code
    counts = [cell['execution_count'] for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert len(text) < 300_000
    prose = re.sub(r'"image/png": "[^"]*"', '', text)
    assert not re.search(r'(?<![\w.])/(home|tmp|work|root|usr|Users)/', prose)
    assert len(pictures(notebook)) == 3
