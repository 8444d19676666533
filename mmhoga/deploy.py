"""Fuse a trained network for inference, and export it to ONNX or torch.export for batches of any size."""

from __future__ import annotations

import copy
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten

from mmhoga.files import write_atomic
from mmhoga.models.fast.folding import fold_norms
from mmhoga.models.hoga import HOGA

Model = TypeVar('Model', bound=nn.Module)

# `from mmhoga.deploy.export import TensorsOnly`, the former place, still works.
sys.modules[f'{__name__}.export'] = sys.modules[__name__]


class TensorsOnly(nn.Module):
    """A model as a function of normalised images ``(N, C, H, W)``. A host's model runs with ``mode='tensor'``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._kwargs: dict[str, Any] = {}
        if hasattr(model, 'data_preprocessor'):
            self._kwargs['mode'] = 'tensor'
            if 'data_samples' in inspect.signature(model.forward).parameters:  # mmpose has no default for it
                self._kwargs['data_samples'] = None

    def forward(self, x: Tensor) -> Any:
        return self.model(x, **self._kwargs)


def fuse(model: Model, *inputs: Tensor, tolerance: float = 1e-5) -> Model:
    """Return a copy of a network for inference: every HOGA fused, every batch norm folded into its convolution.

    >>> import torch
    >>> from mmhoga.backbones import ResNet
    >>> from mmhoga.deploy import fuse
    >>> plugin = dict(cfg=dict(type='mmhoga.HOGA'), position='after_conv2')
    >>> network = ResNet(18, base_channels=8, plugins=[plugin])
    >>> fused = fuse(network, torch.randn(2, 3, 64, 64))
    >>> any(isinstance(module, torch.nn.BatchNorm2d) for module in fused.modules())
    False

    A batch norm stays if :func:`mmhoga.insert` put a cell at it or at its convolution. mmcv's ``fuse_conv_bn`` does not
    compare outputs, and is wrong for a network with cells after a norm and after the convolution that follows: it folds
    the norm of that convolution into the one before.

    Args:
        model: a module that takes tensors. It is put into eval mode. Wrap a whole model of a host in TensorsOnly.
        inputs: a batch on which the copy is compared with the model.
        tolerance: the largest difference allowed, as a fraction of the largest output.

    Raises:
        ValueError: the outputs of the copy differ. Norms are folded in the order in which the model lists its modules,
            so that order must be the order of the calls.
    """
    model.eval()
    fused = copy.deepcopy(model)
    for module in fused.modules():
        if isinstance(module, HOGA):
            module.fuse()
    fold_norms(fused)
    with torch.no_grad():
        try:
            check_outputs(fused(*inputs), model(*inputs), tolerance)
        except AssertionError as error:
            raise ValueError(
                f'{type(model).__name__} cannot be fused: its outputs would change. It lists a batch norm right after '
                f'a convolution that the norm does not follow, or its weights are not finite. {error}'
            ) from error
    return fused


def export_program(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """Capture a model of one tensor in eval mode with ``torch.export``.

    ``program.module()`` runs the result, ``torch.export.save(program, 'x.pt2')`` writes it.

    Args:
        model: the module.
        example: ``(N, C, H, W)`` with N >= 2. The program accepts any N, but only these C, H and W.

    Raises:
        ValueError: the example has one image only.
    """
    if len(example) < 2:
        raise ValueError(f'The example must have two or more images, not {len(example)}: one would fix the batch size.')
    return torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim('batch')},))


def export_onnx(model: nn.Module, example: Tensor, path: str | Path) -> None:
    """Write a model in eval mode as one ONNX file, weights included. Needs ``mmhoga[deploy]``.

    The model and the example are those of :func:`export_program`.
    """
    try:
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ImportError("ONNX files need onnx and onnxscript: pip install 'mmhoga[deploy]'") from error
    program = export_program(model, example)
    exported = torch.onnx.export(program, dynamo=True, input_names=['input'], external_data=False, verbose=False)
    assert exported is not None
    write_atomic(path, exported.model_proto.SerializeToString())


def run_onnx(path: str | Path, x: Tensor) -> Sequence[Tensor]:
    """Run an ONNX file on the CPU with onnxruntime and return all outputs in one list. Needs ``mmhoga[deploy]``."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError("Running an ONNX file needs onnxruntime: pip install 'mmhoga[deploy]'") from error
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return [torch.from_numpy(output) for output in session.run(None, {'input': x.numpy()})]


def check_outputs(actual: Any, expected: Any, tolerance: float) -> None:
    """Compare the tensors in two nested outputs in order, each scaled by the largest magnitude expected.

    Raises:
        AssertionError: a tensor differs by more than ``tolerance``, or in shape, or their numbers differ.
    """
    actual, expected = ([leaf for leaf in tree_flatten(x)[0] if isinstance(leaf, Tensor)] for x in (actual, expected))
    if len(actual) != len(expected):
        raise AssertionError(f'There are {len(actual)} outputs instead of {len(expected)}.')
    for got, wanted in zip(actual, expected):
        scale = wanted.abs().max().clamp(min=torch.finfo(wanted.dtype).tiny)
        torch.testing.assert_close(
            got / scale, wanted / scale, rtol=0, atol=tolerance, msg=lambda text: ' '.join(text.split())
        )
