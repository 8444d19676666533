"""Grad-CAM and guided back-propagation of several checkpoints side by side."""

import sys

from mmhoga.launch.analyses.grad_cam import grad_cam_main

if __name__ == '__main__':
    sys.exit(grad_cam_main())
