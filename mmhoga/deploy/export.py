"""ONNX files and torch.export programs, for any number of images at a time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.files import write_atomic

#: What the file's input and the batch dimension are called.
INPUT, BATCH = 'input', 'batch'


class TensorsOnly(nn.Module):
    """A host's model as a function of one tensor ``(N, C, H, W)``, images as its data preprocessor returns them.

    Args:
        model: an mmengine model, whose raw outputs (``mode='tensor'``) are wanted, or any part of one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._kwargs: dict[str, Any] = {'mode': 'tensor'} if hasattr(model, 'data_preprocessor') else {}

    def forward(self, x: Tensor) -> Any:
        return self.model(x, **self._kwargs)


def export_program(model: nn.Module, example: Tensor) -> torch.export.ExportedProgram:
    """The graph of ``model``, in eval mode, as ``torch.export`` captures it: no Python is left in it.

    ``program.module()`` runs it, ``torch.export.save(program, 'x.pt2')`` writes it.

    Args:
        model: a function of one tensor.
        example: ``(N, C, H, W)``, N at least 2; C, H and W are fixed by it, N is not.
    """
    if len(example) < 2:
        raise ValueError(f'An example of one image fixes the batch size at 1: give two or more, not {len(example)}.')
    return torch.export.export(model.eval(), (example,), dynamic_shapes=({0: torch.export.Dim(BATCH)},))


def export_onnx(model: nn.Module, example: Tensor, path: str | Path) -> None:
    """Write ``model``, in eval mode, as an ONNX file, whole or not at all. Needs ``mmhoga[deploy]``.

    Args:
        model, example: as for :func:`export_program`.
        path: of the file, weights included.

    Raises:
        ImportError: onnx or onnxscript is not installed.
    """
    try:
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ImportError('ONNX files need onnx and onnxscript: pip install mmhoga[deploy]') from error
    exported = torch.onnx.export(
        export_program(model, example), dynamo=True, input_names=[INPUT], external_data=False, verbose=False
    )
    assert exported is not None
    write_atomic(path, exported.model_proto.SerializeToString())


def run_onnx(path: str | Path, x: Tensor) -> Sequence[Tensor]:
    """The outputs of an ONNX file, by onnxruntime on the CPU. Needs ``mmhoga[deploy]``."""
    try:
        import onnxruntime
    except ImportError as error:
        raise ImportError('Checking an ONNX file needs onnxruntime: pip install mmhoga[deploy]') from error
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return [torch.from_numpy(output) for output in session.run(None, {INPUT: x.numpy()})]
