"""A trained network on its way out: fused, exported, and compared with what it came from."""

from mmhoga.deploy.export import export_onnx, export_program, run_onnx
from mmhoga.deploy.fusing import disagreement, fuse

__all__ = ['disagreement', 'export_onnx', 'export_program', 'fuse', 'run_onnx']
