"""Loads checkpoints through a host's functions, each in a process that has imported the host but not mmhoga.

    python -S entry_points.py SITE_PACKAGES HOST < REQUESTS

REQUESTS is JSON: two lists of (entry point, config, checkpoint); for the second, the processes have imported mmhoga
too. Prints JSON: 'ok' or the error for each.
Without ``-S``, a ``.pth`` file of the development environment imports mmhoga at the start of every process.
"""

import contextlib
import functools
import gc
import io
import json
import os
import runpy
import sys
import types
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

TESTS = Path(__file__).resolve().parent
HOST_PARTS = ('apis', 'models', 'datasets', 'evaluation', 'engine', 'visualization')


def quicken_runs():
    """Leave out what mmengine does at every start of a run: it formats the config, and asks compilers for versions.

    - Data sets do not collect garbage, for which Python would visit every object of the hosts.
    - The model zoos of the hosts are read once, not for each config of a host that a config names.
    - A worker of a data loader that was abandoned, as after an error in a run, is waited for 0.2 s, not 5.
    """
    import mmengine.config.config
    import mmengine.config.utils
    import mmengine.dataset.base_dataset
    import mmengine.runner.runner
    import torch.utils.data

    torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL = 0.2
    mmengine.dataset.base_dataset.gc = types.SimpleNamespace(collect=int)
    mmengine.config.config.FormatCode = lambda text, **_: (text, False)
    mmengine.config.config.is_installed = functools.cache(mmengine.config.config.is_installed)
    mmengine.config.utils.load = functools.cache(mmengine.config.utils.load)
    environment = mmengine.runner.runner.collect_env()
    mmengine.runner.runner.collect_env = environment.copy


def stand_in():
    """The operations of a compiled mmcv, taken from mmhoga without importing mmhoga."""
    spec = spec_from_file_location('operations', TESTS.parent / 'mmhoga' / 'compat' / 'mmcv_ops.py')
    operations = module_from_spec(spec)
    spec.loader.exec_module(operations)

    def other(name):
        if name.startswith('__'):
            raise AttributeError(name)

    module = types.ModuleType('mmcv._ext')
    vars(module).update(operations.OPERATIONS, __getattr__=other, __spec__=ModuleSpec('mmcv._ext', None))
    sys.modules['mmcv._ext'] = module


def init_detector(config, checkpoint):
    from mmdet.apis import init_detector

    return init_detector(config, checkpoint, device='cpu')


def det_inferencer(config, checkpoint):
    from mmdet.apis import DetInferencer

    return DetInferencer(config, checkpoint, device='cpu').model


def init_model(config, checkpoint):
    from mmpose.apis import init_model

    return init_model(config, checkpoint, device='cpu')


def mmpose_inferencer(config, checkpoint):
    from mmpose.apis import MMPoseInferencer

    inferencer = MMPoseInferencer(
        pose2d=config, pose2d_weights=checkpoint, det_model='whole_image', scope='mmpose', device='cpu'
    )
    return inferencer.inferencer.model


def get_model(config, checkpoint):
    from mmpretrain import get_model

    return get_model(config, checkpoint)


def image_classification_inferencer(config, checkpoint):
    from mmpretrain import ImageClassificationInferencer

    return ImageClassificationInferencer(config, checkpoint).model


def tool(host):
    """The host's own test script, as ``mim test`` starts it."""

    def run(config, checkpoint):
        path = Path(sys.argv[1], host, '.mim', 'tools', 'test.py')
        sys.argv = [str(path), config, checkpoint, '--work-dir', str(Path(checkpoint).parent / 'tested')]
        runpy.run_path(str(path), run_name='__main__')

    return run


def our_tool(config, checkpoint):
    sys.argv = ['test.py', config, checkpoint, '--work-dir', str(Path(checkpoint).parent / 'tested')]
    try:
        runpy.run_path(str(TESTS.parent / 'tools' / 'test.py'), run_name='__main__')
    except SystemExit as stop:
        assert not stop.code, stop.code


ENTRY_POINTS = {
    'mmdet': {'init_detector': init_detector, 'DetInferencer': det_inferencer},
    'mmpose': {'init_model': init_model, 'MMPoseInferencer': mmpose_inferencer},
    'mmpretrain': {'get_model': get_model, 'ImageClassificationInferencer': image_classification_inferencer},
}
for _host, _functions in ENTRY_POINTS.items():
    _functions.update({'mim test': tool(_host), 'tools/test.py': our_tool})


def in_a_child(function, config, checkpoint):
    """Call the function in a fork, so that what it imports is forgotten. Returns 'ok' or the error."""
    receive, send = os.pipe()
    if not os.fork():
        output = io.StringIO()
        try:
            with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
                model = function(config, checkpoint)
            import torch
            from hostile_checkpoints import CALLS

            saved = dict(model.state_dict()) if model is not None else {}
            expected = torch.load(Path(checkpoint).with_name('weights.pth'), weights_only=True)
            assert not CALLS, 'the checkpoint has run code'
            assert all(torch.equal(saved[name], expected[name]) for name in saved), 'not the weights of the checkpoint'
            result = 'ok'
        except BaseException as error:
            result = f'{type(error).__name__}: {error}' + output.getvalue()[-2000:]
        os.write(send, result[:4000].encode())
        os._exit(0)
    os.close(send)
    with os.fdopen(receive) as pipe:
        result = pipe.read()
    os.wait()
    return result


def main():
    sys.path[:0] = [str(TESTS.parent), str(TESTS), sys.argv[1]]
    stand_in()
    import torch

    torch.set_num_threads(1)
    host = sys.argv[2]
    for part in HOST_PARTS:
        import_module(f'{host}.{part}')
    assert 'mmhoga' not in sys.modules
    quicken_runs()
    gc.freeze()

    def outcomes(requests):
        return [in_a_child(ENTRY_POINTS[host][entry], config, checkpoint) for entry, config, checkpoint in requests]

    without, with_mmhoga = json.load(sys.stdin)
    results = outcomes(without)
    import mmhoga  # noqa: F401

    print(json.dumps([results, outcomes(with_mmhoga)]))


if __name__ == '__main__':
    main()
