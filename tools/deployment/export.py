"""A trained network as an ONNX file or a torch.export program, its batch norms folded."""

import sys

from mmhoga.launch.deployment import export_main

if __name__ == '__main__':
    sys.exit(export_main())
