"""``mmhoga doctor``: a working installation, each known trap (simulated), and the accelerator."""

import json
import subprocess
import sys
import types
from importlib import metadata

import numpy as np
import pytest
import torch

from mmhoga.cli.doctor import accelerator, checks, command, packages, self_test
from mmhoga.cli.doctor.command import doctor_main
from mmhoga.cli.doctor.packages import CHECKS


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Only the checks that import no host, and no accelerator."""
    slow = {'classification', 'detection', 'pose estimation', 'bases such as mmdet::...', 'export to ONNX'}
    few = {name: check for name, check in CHECKS.items() if name not in slow}
    monkeypatch.setattr(command, 'CHECKS', few)
    return few


def run(name):
    """The result of one check."""
    return command._run(CHECKS[name])


def test_report(capsys):
    assert doctor_main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith('mmhoga ') and f'torch {metadata.version("torch")}' in out
    for name in ('torch', 'HOGA', 'a step of a search', 'a checkpoint'):
        assert f'ok       {name} ' in out
    assert 'BROKEN' not in out and 'WARNING' not in out
    assert 'All that is installed works.' in out
    assert max(map(len, out.splitlines())) <= command.WIDTH


def test_json_is_all_of_the_output(capsys):
    assert doctor_main(['--json']) == 0
    report = json.loads(capsys.readouterr().out)
    assert report['versions']['python'] == '.'.join(map(str, sys.version_info[:3]))
    assert report['failed'] == [] and {check['name'] for check in report['checks']} <= set(CHECKS)
    assert all(check['ok'] is (check['status'] in ('ok', 'stand-in')) for check in report['checks'])


def test_something_optional_is_absent(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    assert doctor_main([]) == 0
    out = capsys.readouterr().out
    assert 'absent   figures and reports' in out and "-> pip install 'mmhoga[analysis]'" in out
    assert 'Absent, if you need it: figures and reports.' in out


def test_something_essential_is_broken(capsys, monkeypatch):
    def broken(*_):
        raise RuntimeError('out of\npaper')

    monkeypatch.setattr('mmhoga.models.hoga.HOGA.forward', broken)
    assert doctor_main([]) == 1
    out = capsys.readouterr().out
    assert 'RuntimeError: out of paper' in out and 'checks failed (HOGA' in out


def test_without_torch():
    """The command itself needs only the standard library."""
    code = (
        "import sys; sys.modules.update(dict.fromkeys(['torch', 'numpy', 'mmengine', 'mmcv', 'torchvision']))\n"
        "from mmhoga.cli.main import main; sys.exit(main(['doctor']))"
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=False)
    assert result.returncode == 1, result.stderr
    assert 'absent   torch' in result.stdout and 'pip install -U torch' in result.stdout
    assert 'checks failed (torch, mmengine)' in result.stdout


@pytest.mark.parametrize('name', CHECKS)
def test_every_check_names_what_mends_it_and_has_its_function(name):
    check = CHECKS[name]
    assert check.modules or check.test
    assert check.remedy.startswith(('pip install ', 'update the driver'))
    if check.test:
        file, function = check.test.split('.')
        assert callable(getattr({'checks': checks, 'self_test': self_test, 'accelerator': accelerator}[file], function))


# The traps of an installation


@pytest.fixture
def versions(monkeypatch):
    """Pretend that exactly these distributions are installed."""

    def pretend(**found):
        found = {name.replace('_', '-'): version for name, version in found.items()}

        def version(name):
            if name not in found:
                raise metadata.PackageNotFoundError(name)
            return found[name]

        monkeypatch.setattr(metadata, 'version', version)

    return pretend


@pytest.mark.parametrize(
    ('found', 'package', 'remedy'),
    [
        (dict(mmengine='0.10.7', onedl_mmengine='0.10.12'), 'mmengine', 'onedl-mmengine==0.10.12'),
        (dict(mmcv='2.1.0', mmcv_lite='2.2.0'), 'mmcv', 'mmcv-lite==2.1.0'),
        (dict(mmdet='3.3.0', onedl_mmdetection='3.5.1'), 'mmdet', 'onedl-mmdetection==3.5.1'),
        (dict(mmpretrain='1.2.0', onedl_mmpretrain='1.3.6'), 'mmpretrain', 'onedl-mmpretrain==1.3.6'),
    ],
)
def test_two_distributions_with_the_same_files(found, package, remedy, versions):
    versions(**found)
    (result,) = (result for result in command._results() if result['name'] == f'one {package}')
    assert result['status'] == 'broken' and all(version in result['detail'] for version in found.values())
    assert result['remedy'].startswith('pip uninstall -y ') and result['remedy'].endswith(remedy)


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ('error', 'cause', 'remedy'),
    [
        (AssertionError('MMCV==2.2.0 is used but incompatible. Please'), 'refuses this mmcv', 'mmcv-lite==2.1.0'),
        (ValueError('numpy.dtype size changed, may indicate binary'), 'numpy 1', "'numpy<2'"),
        (RuntimeError('Numpy is not available'), 'torch before 2.3', "'numpy<2'"),
        (
            ModuleNotFoundError("No module named 'pkg_resources'", name='pkg_resources'),
            'setuptools 81',
            'setuptools<81',
        ),
        (AttributeError("module 'pkgutil' has no attribute 'ImpImporter'"), 'setuptools 60', "-U 'setuptools<81'"),
        (RuntimeError('operator torchvision::nms does not exist'), 'built for another torch', 'torchvision'),
        (ImportError('/x/mmcv/_ext.so: undefined symbol: _ZN2at4_ops'), 'built for another torch', 'mmcv-lite==2.1.0'),
        (ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext'), 'before mmhoga', 'custom_imports'),
        (Exception('Weights only load failed. This file'), 'until mmhoga is imported', 'import mmhoga'),
        (ModuleNotFoundError("No module named 'chumpy'", name='chumpy'), 'requires chumpy', 'chumpy'),
        (RuntimeError('CUDA error: no kernel image is available'), 'no kernels for this GPU', 'pytorch.org'),
    ],
)
def test_a_known_error_is_explained(error, cause, remedy, monkeypatch):
    monkeypatch.setattr(checks, 'mmengine_version', raising(error))
    result = run('mmengine')
    assert result['status'] == 'broken'
    assert cause in result['detail'] and str(error)[:20] in result['detail']
    assert remedy in result['remedy']


@pytest.mark.parametrize(
    ('python', 'remedy'), [((3, 11), 'mmhoga[pose]'), ((3, 12), '--no-build-isolation xtcocotools')]
)
def test_pose_estimation_without_xtcocotools(python, remedy, monkeypatch):
    monkeypatch.setattr(packages.sys, 'version_info', python)
    check = CHECKS['pose estimation']._replace(modules=('xtcocotools',))
    monkeypatch.setitem(sys.modules, 'xtcocotools', None)
    result = command._run(check)
    assert result['status'] == 'absent' and remedy in result['remedy']


def test_the_forks_are_mended_with_forks(versions, monkeypatch):
    monkeypatch.setitem(sys.modules, 'mmcv', None)
    versions(mmengine='0.10.7')
    assert run('backbones')['remedy'] == 'pip install mmcv-lite==2.1.0'
    versions(onedl_mmengine='0.10.12')
    assert run('backbones')['remedy'] == 'pip install onedl-mmcv'


@pytest.mark.parametrize(
    ('module', 'name', 'version'), [('torch', 'torch', '1.13.1+cu117'), ('mmengine', 'mmengine', '0.8.4')]
)
def test_a_version_below_the_floor(module, name, version, monkeypatch):
    monkeypatch.setattr(sys.modules[module], '__version__', version)
    result = run(name)
    assert result['status'] == 'broken' and version in result['detail'] and '-U' in result['remedy']


def test_the_floor_compares_numbers():
    assert checks.older_than('1.13.1', 2, 0) and checks.older_than('0.9.1', 0, 10)
    assert not checks.older_than('2.0.0+cu117', 2, 0) and not checks.older_than('0.10.0', 0, 10)


def test_timm_that_cannot_build_gather_excite(monkeypatch):
    pytest.importorskip('timm')
    from timm import layers

    def broken(*args, **kwargs):
        raise TypeError('GatherExcite.__init__() takes 2 to 13 positional arguments')

    monkeypatch.setattr(layers.GatherExcite, '__init__', broken)
    result = run("timm's attentions")
    assert result['status'] == 'broken' and "'ge'" in result['detail'] and 'mmhoga[attention]' in result['remedy']


def test_the_stand_in_says_what_it_lacks_and_how_scripts_get_it():
    result = run("mmcv's operations")
    if result['status'] == 'ok':
        pytest.skip('this mmcv is compiled')
    assert result['status'] == 'stand-in'
    assert 'deformable convolution' in result['detail'] and 'custom_imports' in result['detail']


def test_a_compiled_mmcv_is_named(monkeypatch):
    import mmcv.ops  # noqa: F401  (before the spec changes)

    monkeypatch.setattr(checks, 'find_spec', lambda name: types.SimpleNamespace(origin='/x/mmcv/_ext.so'))
    assert run("mmcv's operations") == {'status': 'ok', 'detail': 'compiled (/x/mmcv/_ext.so)'}


# Mistakes that others made, in the self-test


def test_a_hessian_that_is_zero_is_found(monkeypatch):
    """MMRazor's: both lists hold the same gradient, so that the term is 0."""
    zero = lambda loss, alphas, *_: [torch.zeros_like(alpha) for alpha in alphas]  # noqa: E731
    monkeypatch.setattr('mmhoga.search.bilevel._finite_difference', zero)
    assert 'second-order gradient' in run('a step of a search')['detail']


def test_a_difference_with_the_wrong_brackets_is_found(monkeypatch):
    """pt.darts and NNI: (p - n) / 2 * eps."""
    from mmhoga.search import bilevel

    right = bilevel._finite_difference
    monkeypatch.setattr(bilevel, '_finite_difference', lambda *args: [1e-9 * term for term in right(*args)])
    assert 'second-order gradient' in run('a step of a search')['detail']


def test_weights_that_do_not_move_are_found(monkeypatch):
    monkeypatch.setattr(torch.optim.SGD, 'step', lambda *_, **__: None)
    assert 'changed 1 of' in run('a step of a search')['detail']


def test_a_derived_cell_that_differs_is_found(monkeypatch):
    from mmhoga.models import HOGA

    right = HOGA.forward
    monkeypatch.setattr(HOGA, 'forward', lambda self, x: right(self, x) + 0.01)
    assert 'derived cell differs' in run('a step of a search')['detail']


def test_a_gradient_that_is_missing_is_found(monkeypatch):
    from mmhoga.models import HOGA

    right = HOGA.forward
    monkeypatch.setattr(HOGA, 'forward', lambda self, x: right(self, x).detach() + next(self.parameters()).sum())
    assert 'have no finite gradient' in run('HOGA')['detail']


def test_a_checkpoint_that_mmengine_cannot_read_is_found(monkeypatch):
    """What torch 2.6 does without mmhoga's reader."""
    from mmengine.runner import checkpoint

    monkeypatch.setattr(checkpoint, 'torch', torch)
    result = run('a checkpoint')
    assert result['status'] == 'broken'


# The accelerator


def test_without_an_accelerator_there_is_nothing_to_compare():
    if torch.cuda.is_available():
        pytest.skip('there is a GPU here')
    assert run('accelerator') is None and accelerator.describe() == {}


def test_the_comparison_passes_on_the_device_it_compares_with():
    assert 'computes there what it does on the CPU' in accelerator.same_as_cpu('cpu')


@pytest.mark.parametrize('fault', [1.01, float('nan')])
def test_a_device_that_computes_something_else_is_found(fault, monkeypatch):
    from mmhoga.models import HOGA

    right, calls = HOGA.forward, []

    def forward(self, x):
        calls.append(1)
        return right(self, x) * (1 if len(calls) == 1 else fault)

    monkeypatch.setattr(HOGA, 'forward', forward)
    with pytest.raises(ArithmeticError, match='differs from that on the CPU'):
        accelerator.same_as_cpu('cpu')


def test_the_description_of_a_gpu(monkeypatch, capsys, quick):
    """Simulated: what a real one computes is not tested here."""
    cuda = torch.cuda
    properties = types.SimpleNamespace(name='NVIDIA H100', major=9, minor=0)
    for name, value in dict(
        is_available=True, current_device=0, get_device_properties=properties, mem_get_info=(2**35, 2**36),
        get_arch_list=['sm_80', 'sm_90'], device_count=1, is_bf16_supported=True, get_device_name='NVIDIA H100',
    ).items():  # fmt: skip
        monkeypatch.setattr(cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.version, 'cuda', '13.0')
    monkeypatch.setattr(torch.backends.cudnn, 'version', lambda: 92400)
    monkeypatch.setattr(accelerator.shutil, 'which', lambda name: '/usr/bin/nvidia-smi')
    answer = types.SimpleNamespace(stdout='580.65.06\n')
    monkeypatch.setattr(accelerator.subprocess, 'run', lambda *_, **__: answer)
    monkeypatch.setattr(command, 'CHECKS', {'torch': quick['torch']})
    assert doctor_main([]) == 0
    out = ' '.join(capsys.readouterr().out.split())
    for part in (
        'GPU: name NVIDIA H100',
        'capability 9.0',
        '64.0 GiB, 32.0 GiB free',
        'driver 580.65.06',
        'cuDNN 92400',
    ):
        assert part in out
    assert 'no GPU was found' not in out


def test_numpy_and_torch_must_exchange_arrays(monkeypatch):
    monkeypatch.setattr(torch, 'from_numpy', lambda array: torch.zeros(np.size(array)))
    assert run('torch')['status'] == 'broken'
