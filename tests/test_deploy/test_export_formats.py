"""Ways out of torch: traces, ONNX, torch.export, torch.fx and torch.compile. The ONNX tests need the extra ``deploy``.

A cell with every operation stands for a network: each way is right if it is right for a cell at every size.
"""

import copy
import importlib.util
import io
from pathlib import Path

import pytest
import torch
from cells import randomize
from tensorrt import unsupported
from torch import nn

from mmhoga.deploy import check_outputs, export_program, takes_any_size, write_onnx
from mmhoga.models import HOGA, SearchableHOGA

GENOTYPE = [
    ['se'],
    ['cbam', 'cbam'],
    ['spatial_3x3', 'skip_connect', 'se_avgmax'],
    ['norm_3x3_d2', 'none', 'spatial_3x3_d2', 'norm_3x3'],
]
EXAMPLE = (2, 8, 6, 8)
OPSETS = [11, 13, 17]
TOLERANCE = 1e-5
OTHERS = ((1, 8, 9, 7), (3, 8, 14, 10), (2, 8, 1, 1))

onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ('onnx', 'onnxruntime', 'onnxscript')),
    reason="onnx, onnxruntime and onnxscript are not installed: pip install 'mmhoga[deploy]'",
)


@pytest.fixture(scope='module', params=['cell', 'fused'])
def cell(request):
    torch.manual_seed(0)
    plain = randomize(HOGA(8, genotype=GENOTYPE)).eval().requires_grad_(False)
    return copy.deepcopy(plain).fuse() if request.param == 'fused' else plain


@pytest.fixture(scope='module')
def program(cell):
    return export_program(cell, torch.randn(EXAMPLE))


def onnx_session(file):
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=['CPUExecutionProvider'])
    (argument,) = session.get_inputs()
    return lambda x: [torch.from_numpy(y) for y in session.run(None, {argument.name: x.numpy()})]


def assert_equal_at_other_sizes(run, model):
    for shape in OTHERS:
        x = torch.randn(shape)
        check_outputs(run(x), model(x), TOLERANCE)


def test_a_trace(cell):
    assert_equal_at_other_sizes(torch.jit.trace(cell, torch.randn(EXAMPLE)), cell)


@onnx
@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('opset', OPSETS)
def test_the_exporter_of_mmdeploy(cell, opset):
    """``dynamo=False`` traces: a division by the number of pixels, for example, would become a constant."""
    file = io.BytesIO()
    axes = {'x': {0: 'n', 2: 'h', 3: 'w'}}
    options = dict(dynamo=False, opset_version=opset, input_names=['x'], dynamic_axes=axes)
    torch.onnx.export(cell, (torch.randn(EXAMPLE),), file, **options)
    assert_equal_at_other_sizes(onnx_session(file.getvalue()), cell)
    assert not unsupported(file.getvalue())


def test_a_program(cell, program):
    assert takes_any_size(program)
    assert_equal_at_other_sizes(program.module(), cell)


@onnx
@pytest.mark.parametrize('cell', ['fused'], indirect=True)
def test_onnx(cell, program, tmp_path):
    write_onnx(program, tmp_path / 'cell.onnx')
    assert [path.name for path in tmp_path.iterdir()] == ['cell.onnx']
    assert_equal_at_other_sizes(onnx_session(tmp_path / 'cell.onnx'), cell)
    assert not unsupported((tmp_path / 'cell.onnx').read_bytes())
    if torch.__version__.startswith('2.14'):
        assert f'opset {opset_of(tmp_path / "cell.onnx")} with torch 2.14' in way('torch.onnx.export(dynamo=True)')


def opset_of(path):
    import onnx

    return onnx.load(path).opset_import[0].version


def way(name):
    """The row of a way in the table of docs/deployment.md."""
    page = Path(__file__).resolve().parents[2] / 'docs' / 'deployment.md'
    (row,) = (line for line in page.read_text(encoding='utf-8').splitlines() if line.startswith(f'| `{name}'))
    return row


def test_the_docs_show_what_is_tested():
    for name in (
        'torch.jit.trace',
        'torch.export',
        'torch.onnx.export(dynamo=False)',
        'torch.onnx.export(dynamo=True)',
    ):
        assert '| any | any | 1e-5 |' in way(name) and TOLERANCE == 1e-5
    assert f'opset {", ".join(map(str, OPSETS))} |' in way('torch.onnx.export(dynamo=False)')


def test_an_example_of_one_image_is_refused():
    with pytest.raises(ValueError, match='two or more images, not 1'):
        export_program(nn.Identity(), torch.randn(1, 3))


class Positions(nn.Module):
    """Adds a position embedding, which fixes the size."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(3, 4, 5))

    def forward(self, x):
        return x + self.embedding


def test_a_model_of_one_size():
    model, x = Positions(), torch.randn(2, 3, 4, 5)
    program = export_program(model, x)
    assert not takes_any_size(program)
    torch.testing.assert_close(program.module()(torch.cat((x, x))), model(torch.cat((x, x))))
    assert not takes_any_size(export_program(nn.ReLU(), x, any_size=False))


@pytest.mark.parametrize(('cell', 'training'), [(HOGA, False), (SearchableHOGA, True)])
def test_compile_finds_no_graph_break(cell, training):
    """``fullgraph`` turns a break into an error. Outputs and gradients are those of the uncompiled cell."""
    cell = cell(16) if cell is HOGA else cell(16, num_groups=2)
    cell = cell.double().train(training)  # compiled, narrow convolutions add up in another order
    x = torch.randn(2, 16, 6, 6, dtype=torch.float64, requires_grad=True)
    results = []
    for form in (cell, torch.compile(cell, backend='eager', fullgraph=True)):
        y = form(x)
        results.append((y, *torch.autograd.grad(y.square().sum(), [x, *cell.parameters()])))
    torch.testing.assert_close(*results)
