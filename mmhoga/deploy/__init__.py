"""Fuse a trained network for inference, and export it to ONNX or torch.export."""

from mmhoga.deploy.detectors import Detector, Maps, is_detector
from mmhoga.deploy.export import TensorsOnly, export_onnx, export_program, run_onnx, takes_any_size, write_onnx
from mmhoga.deploy.fusing import fuse
from mmhoga.deploy.outputs import check_detections, check_outputs

__all__ = [
    'Detector',
    'Maps',
    'TensorsOnly',
    'check_detections',
    'check_outputs',
    'export_onnx',
    'export_program',
    'fuse',
    'is_detector',
    'run_onnx',
    'takes_any_size',
    'write_onnx',
]
