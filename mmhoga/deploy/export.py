"""Export a network to ONNX or torch.export for batches of any size."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmhoga.files import write_atomic

UNLIMITED = 10**6  # pixels: an upper limit below it comes from the example


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


def export_program(model: nn.Module, example: Tensor, *, any_size: bool = True) -> torch.export.ExportedProgram:
    """Capture a model of one tensor in eval mode with ``torch.export``.

    ``program.module()`` runs the result, ``torch.export.save(program, 'x.pt2')`` writes it.

    Args:
        model: the module.
        example: ``(N, C, H, W)`` with N >= 2. The program accepts any N, but only this C.
        any_size: accept any H and W too. If the model fixes them, as a position embedding does, or if the example is so
            small that a map has one pixel, they stay those of the example (:func:`takes_any_size`). Needs torch 2.6.

    Raises:
        ValueError: the example has one image only.
    """
    if len(example) < 2:
        raise ValueError(f'The example must have two or more images, not {len(example)}: one would fix the batch size.')
    sizes = {0: torch.export.Dim('batch')}
    free = getattr(torch.export.Dim, 'AUTO', None)
    if any_size and free is not None:
        free_sizes = {**sizes, **dict.fromkeys(range(2, example.dim()), free)}
        program = torch.export.export(model.eval(), (example,), dynamic_shapes=(free_sizes,))
        if takes_any_size(program):
            return program
    return torch.export.export(model.eval(), (example,), dynamic_shapes=(sizes,))


def takes_any_size(program: torch.export.ExportedProgram) -> bool:
    """Whether the height and the width of the images are free, above a lower limit."""
    (name,) = program.graph_signature.user_inputs
    (node,) = (node for node in program.graph.nodes if node.name == name)
    for size in node.meta['val'].shape[2:]:
        if str(size).isdigit():  # a fixed size may be a SymInt
            return False
        limits = program.range_constraints.get(size.node.expr)
        if limits is not None and limits.upper < UNLIMITED:
            return False
    return True


def export_onnx(model: nn.Module, example: Tensor, path: str | Path, *, any_size: bool = True) -> None:
    """Write a model in eval mode as one ONNX file, weights included. Needs ``mmhoga[deploy]``.

    The arguments are those of :func:`export_program`.
    """
    write_onnx(export_program(model, example, any_size=any_size), path, getattr(model, 'output_names', None))


def write_onnx(program: torch.export.ExportedProgram, path: str | Path, names: Sequence[str] | None = None) -> None:
    """Write a program as one ONNX file, weights included. ``names`` are those of its outputs."""
    try:
        import onnxscript  # noqa: F401 (torch.onnx needs it)
    except ImportError as error:
        raise ImportError("ONNX files need onnx and onnxscript: pip install 'mmhoga[deploy]'") from error
    options: Any = dict(input_names=['input'], output_names=names, external_data=False, verbose=False)
    exported = torch.onnx.export(program, dynamo=True, **options)
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
