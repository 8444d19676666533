"""benchmarks/gpu.py at toy size, in this process: its sections, and how it ends, limits and repeats them."""

import importlib.util
import json
import sys

import pytest
import torch


@pytest.fixture(scope='module')
def gpu(pytestconfig):
    path = pytestconfig.rootpath / 'benchmarks' / 'gpu.py'
    spec = importlib.util.spec_from_file_location('gpu_benchmark', path)
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    yield module
    sys.path[:] = before


def rows(folder, name):
    return json.loads((folder / f'{name}.json').read_text())['rows']


def test_correctness_finds_a_wrong_gradient(gpu, tmp_path, monkeypatch):
    from on_gpu import correctness

    cells = dict(correctness.cells(16))
    assert len(cells) == 9 + 1 + 2 * 4, 'each operation, autola, and two cells for each K'
    chosen = {'good': cells['supernet, K = 2'], 'wrong': cells['autola'], 'broken': lambda: torch.nn.Linear(3, 3)}
    monkeypatch.setattr(correctness, 'cells', lambda channels: chosen.items())
    results = correctness._results

    def wrong(cell, x, *args):
        y, slopes = results(cell, x, *args)
        return y, slopes * 1.01 if hasattr(cell, 'genotype') and x.dtype == torch.float32 else slopes

    monkeypatch.setattr(correctness, '_results', wrong)
    assert gpu.run_here('correctness', tmp_path, toy=True) == 1
    good, wrong, broken = rows(tmp_path, 'correctness')
    assert good['within_limits'] == 'yes' and set(good) == {'cell', *correctness.ON_CPU, 'within_limits'}
    assert wrong['within_limits'] == 'no: fp32, fp32 NHWC'
    assert 'RuntimeError: mat1 and mat2' in broken['error']


def test_networks(gpu, tmp_path, monkeypatch):
    from on_gpu import networks

    for name in ('SE', 'CBAM'):
        monkeypatch.delitem(networks.NETWORKS, name)
    monkeypatch.setattr(networks, 'seconds', lambda sides, *_, **__: {key: [0.5, 1.0] for key in sides})
    assert gpu.run_here('networks', tmp_path, toy=True) == 0
    calls = {(row['task'], row['network']): row['calls'] for row in rows(tmp_path, 'networks')}
    assert calls['inference, batch 1', 'plain'] == 172
    assert calls['inference, batch 1', 'HOGA fused'] < calls['inference, batch 1', 'HOGA']
    assert len(calls) == 4 + 4 + 2 and all(row['ms'] == 750 and row['ratio'] == 1 for row in rows(tmp_path, 'networks'))


def test_without_a_gpu_triton_is_not_measured(gpu, tmp_path):
    assert gpu.run_here('triton_kernels', tmp_path, toy=True) == 0
    (row,) = rows(tmp_path, 'triton_kernels')
    assert 'neither a GPU nor its interpreter' in row['skipped']


@pytest.mark.parametrize(
    ('end', 'limit', 'status'),
    [('', 60, 'done'), ('sys.exit(3)', 60, 'failed with exit code 3'), ('time.sleep(60)', 2, 'stopped after 2 s')],
)
def test_a_section_that_ends_keeps_its_rows(gpu, tmp_path, end, limit, status):
    path = tmp_path / 'networks.json'
    code = f'import sys, time; open({str(path)!r}, "w").write(\'{{"rows": [{{"ms": 1.5}}]}}\'); {end}'
    assert gpu.run_section(tmp_path, 'networks', [sys.executable, '-S', '-c', code], limit) == status
    result = gpu.read(tmp_path, 'networks')
    assert result['rows'] == [{'ms': 1.5}] and result['status'] == status


def test_a_second_start_repeats_what_is_not_done(gpu, tmp_path, monkeypatch, capsys):
    ran = []
    ends = {'networks': 'failed with exit code 1', 'detector': 'stopped after 60 s'}

    def run_section(out, name, command, limit):
        ran.append(name)
        status = ends.get(name, 'done')
        gpu.write(out / f'{name}.json', json.dumps({'status': status, 'rows': [{'ms': 2.0}, {'error': 'no'}]}))
        return status

    monkeypatch.setattr(gpu, 'run_section', run_section)
    arguments = ['--out', str(tmp_path / 'out')]
    assert gpu.main(arguments) == 1 and ran == list(gpu.SECTIONS)
    assert 'Not complete: networks, detector.' in capsys.readouterr().out
    ran.clear()
    ends.clear()
    assert gpu.main(arguments) == 0 and ran == ['networks', 'detector']
    assert gpu.main([*arguments, '--sections', 'search_step']) == 0 and ran[-1] == 'search_step'
    assert json.loads((tmp_path / 'out/gpu.json').read_text()).keys() == gpu.SECTIONS.keys()
    table = (tmp_path / 'out/gpu.md').read_text()
    assert '### search step\n\ndone\n\n| ms | error |\n|----|-------|\n| 2  |       |\n|    | no    |\n' in table
    ran.clear()
    for path in (tmp_path / 'out').glob('*.json'):
        path.unlink()
    assert gpu.main([*arguments, '--minutes', '0.01']) == 0 and not ran
    assert 'no time left' in capsys.readouterr().out
