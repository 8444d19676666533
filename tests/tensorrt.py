"""The ONNX operators that TensorRT supports.

From the table "Operator Support Matrix" of TensorRT 8.5, all rows with Y: docs/operators.md of
https://github.com/onnx/onnx-tensorrt at 6d0ab7be324d02c7feb3a306b6fdbeae84f71ddc. TensorRT 11 reads opsets from 9 to 25
(https://docs.nvidia.com/deeplearning/tensorrt/latest/reference/onnx-opset-guide.html).
"""

NAMES = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast Ceil Celu Clip Concat
Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DepthToSpace DequantizeLinear Div Dropout Einsum Elu Equal
Erf Exp Expand EyeLike Flatten Floor Gather GatherElements GatherND Gemm GlobalAveragePool GlobalLpPool GlobalMaxPool
Greater GreaterOrEqual GridSample GRU HardSwish HardSigmoid Identity If ImageScaler InstanceNormalization IsNaN
LeakyRelu Less LessOrEqual Log LogSoftmax Loop LRN LSTM LpNormalization LpPool MatMul Max MaxPool Mean
MeanVarianceNormalization Min Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or Pad ParametricSoftplus Pow PRelu
QuantizeLinear RandomNormal RandomNormalLike RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2
ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize
ReverseSequence RNN RoiAlign Round ScaledTanh Scan Scatter ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign
Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile
TopK Transpose Trilu Unsqueeze Upsample Where Xor
"""


def unsupported(file: bytes) -> set[str]:
    """The operators in an ONNX file, its functions and subgraphs included, that are not in the table."""
    import onnx

    model = onnx.load_from_string(file)
    graphs, operators = [model.graph, *model.functions], set()
    own = {function.name for function in model.functions}
    while graphs:
        for node in graphs.pop().node:
            operators.add(node.op_type)
            graphs += [attribute.g for attribute in node.attribute if attribute.HasField('g')]
    assert operators
    return operators - set(NAMES.split()) - own
