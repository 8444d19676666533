"""Fuse a trained network for inference, and export it to ONNX or torch.export."""

from mmhoga.deploy.export import TensorsOnly, export_onnx, export_program, run_onnx, takes_any_size, write_onnx
from mmhoga.deploy.fusing import fuse
from mmhoga.deploy.outputs import check_outputs

__all__ = [
    'TensorsOnly',
    'check_outputs',
    'export_onnx',
    'export_program',
    'fuse',
    'run_onnx',
    'takes_any_size',
    'write_onnx',
]
