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


# Inputs that the table wants to be constants.
CONSTANTS = {'TopK': 1, 'Slice': 3, 'Squeeze': 1, 'Unsqueeze': 1}


def unsupported(file: bytes) -> set[str]:
    """The operators of an ONNX file, and its inputs that are not constants, that the table does not have."""
    import onnx

    graph = onnx.load_from_string(file).graph
    operators = {node.op_type for node in graph.node}
    assert operators
    constants = {tensor.name for tensor in graph.initializer}
    constants |= {node.output[0] for node in graph.node if node.op_type == 'Constant'}
    variable = {
        f'{node.op_type} with a variable input {CONSTANTS[node.op_type]}'
        for node in graph.node
        if len(node.input) > CONSTANTS.get(node.op_type, 99)
        and node.input[CONSTANTS[node.op_type]] not in constants | {''}
    }
    return operators - set(NAMES.split()) | variable
