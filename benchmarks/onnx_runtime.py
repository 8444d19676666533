"""ONNX Runtime on the CPU: a fused ResNet with HOGA in every block against the plain fused one, each as an ONNX file.

    python benchmarks/onnx_runtime.py --threads 2
    python benchmarks/onnx_runtime.py --threads 2 --legacy    # files of torch.onnx.export(dynamo=False)

Both files take images of any size. They run in turns within one run.
"""

from __future__ import annotations

import argparse
import io
import logging
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from side_by_side import alternate, ratio, spread, table
from torch import Tensor, nn

from mmhoga.backbones import ResNet
from mmhoga.deploy import check_outputs, export_program, fuse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--depth', type=int, default=50)
    parser.add_argument('--genotype', default='autola')
    parser.add_argument('--batch', type=int, nargs='+', default=[1, 8])
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--threads', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument('--legacy', action='store_true', help='export with dynamo=False, opset 17')
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    logging.disable(logging.WARNING)

    plugin = dict(cfg=dict(type='mmhoga.HOGA', genotype=args.genotype), position='after_conv2')
    example = torch.randn(2, 3, args.size, args.size)
    models, sessions, counts = {}, {}, {}
    for name, plugins in (('plain', None), ('HOGA', [plugin])):
        models[name] = fuse(ResNet(args.depth, plugins=plugins), example)
        file, nodes = (legacy if args.legacy else current)(models[name], example)
        counts[name] = str(sum(nodes.values())), str(nodes['Conv']), f'{len(file) / 1e6:.1f}'
        sessions[name] = session(file, args.threads)
    rows = [('batch', '', 'nodes', 'of them Conv', 'MB', 'ONNX Runtime', 'ratio')]
    for batch in args.batch:
        x = torch.randn(batch, 3, args.size, args.size)
        with torch.no_grad():
            for name, run in sessions.items():
                check_outputs(run(x), models[name](x), 1e-4)
        seconds = alternate({name: partial(run, x) for name, run in sessions.items()}, args.rounds)
        for name in sessions:
            against = '' if name == 'plain' else f'{ratio(seconds[name], seconds["plain"]):.2f}'
            rows.append((str(batch), name, *counts[name], spread(seconds[name]), against))
    exporter = f'dynamo={not args.legacy}'
    print(f'ResNet-{args.depth}, {args.genotype}, {args.size} x {args.size}, {args.threads} threads, {exporter}')
    print(table(rows))


def current(model: nn.Module, x: Tensor) -> tuple[bytes, Counter]:
    exported = torch.onnx.export(export_program(model, x), dynamo=True, external_data=False, verbose=False)
    assert exported is not None
    return operators(exported.model_proto.SerializeToString())


def legacy(model: nn.Module, x: Tensor) -> tuple[bytes, Counter]:
    file = io.BytesIO()
    axes = {'input': {0: 'batch', 2: 'height', 3: 'width'}}
    torch.onnx.export(model, (x,), file, dynamo=False, opset_version=17, input_names=['input'], dynamic_axes=axes)
    return operators(file.getvalue())


def operators(file: bytes) -> tuple[bytes, Counter]:
    """The file and how often it has each operator."""
    import onnx

    return file, Counter(node.op_type for node in onnx.load_from_string(file).graph.node)


def session(file: bytes, threads: int) -> Callable[[Tensor], list[Tensor]]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    runtime = onnxruntime.InferenceSession(file, options, providers=['CPUExecutionProvider'])
    (argument,) = runtime.get_inputs()
    return lambda x: [torch.from_numpy(y) for y in runtime.run(None, {argument.name: x.numpy()})]


if __name__ == '__main__':
    main()
