"""Graphs that each reach one rule, or one defect, of the old quantizer: which reads constants and edits in place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from converter_oracle_graphs import NONE, Builder, Shape
from refquant.model.graph import Model, Operator, Quantization, Signature, Tensor

IMAGE: Shape = (1, 4, 4, 4)
ROW: Shape = (1, 4)


# operators with fixed operands


def only(made: list[int]) -> int:
    (tensor,) = made
    return tensor


def add(b: Builder, x: int, y: int) -> int:
    return only(b.op("ADD", [x, y], [b.shape(x)], NONE, "AddOptions"))


def unary(b: Builder, op: str, x: int) -> int:
    return only(b.op(op, [x], [b.shape(x)], {"beta": 1.0} if op == "SOFTMAX" else None))


def pool(b: Builder, x: int) -> int:
    n, h, w, c = b.shape(x)
    options = {
        "padding": "SAME",
        "stride_w": 2,
        "stride_h": 2,
        "filter_width": 2,
        "filter_height": 2,
        "fused_activation_function": "NONE",
    }
    return only(b.op("AVERAGE_POOL_2D", [x], [(n, -(-h // 2), -(-w // 2), c)], options, "Pool2DOptions"))


def concatenate(b: Builder, *inputs: int) -> int:
    axis = len(b.shape(inputs[0])) - 1
    shape = (*b.shape(inputs[0])[:-1], sum(b.shape(t)[-1] for t in inputs))
    return only(b.op("CONCATENATION", list(inputs), [shape], {"axis": axis, **NONE}, "ConcatenationOptions"))


def conv(b: Builder, x: int, weights: int, bias: int | None = None) -> int:
    n, h, w, _ = b.shape(x)
    options = {
        "padding": "SAME",
        "stride_w": 1,
        "stride_h": 1,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        **NONE,
    }
    inputs = [x, weights] if bias is None else [x, weights, bias]
    return only(b.op("CONV_2D", inputs, [(n, h, w, b.shape(weights)[0])], options, "Conv2DOptions"))


def depthwise(b: Builder, x: int, weights: int, bias: int | None = None) -> int:
    options = {
        "padding": "SAME",
        "stride_w": 1,
        "stride_h": 1,
        "depth_multiplier": 1,
        "dilation_w_factor": 1,
        "dilation_h_factor": 1,
        **NONE,
    }
    inputs = [x, weights] if bias is None else [x, weights, bias]
    return only(b.op("DEPTHWISE_CONV_2D", inputs, [b.shape(x)], options, "DepthwiseConv2DOptions"))


def dense(b: Builder, x: int, weights: int, bias: int = -1) -> int:
    options = {**NONE, "weights_format": "DEFAULT", "keep_num_dims": False, "asymmetric_quantize_inputs": False}
    shape = (b.shape(x)[0], b.shape(weights)[0])
    return only(b.op("FULLY_CONNECTED", [x, weights, bias], [shape], options, "FullyConnectedOptions"))


def numbers(b: Builder, shape: Shape, factor: float = 1.0) -> int:
    return b.constant((b.rng.normal(0, 2, shape) * factor).astype(np.float32))


def exactly(b: Builder, values: list) -> int:
    return b.constant(np.array(values, np.float32))


def integers(b: Builder, values: list | int) -> int:
    return b.constant(np.array(values, np.int32))


def without_range(b: Builder, *tensors: int) -> None:
    for tensor in tensors:
        b.tensors[tensor] = replace(b.tensors[tensor], quantization=None)


def with_range(b: Builder, tensor: int, low: float, high: float) -> None:
    q = Quantization(min=(float(np.float32(low)),), max=(float(np.float32(high)),))
    b.tensors[tensor] = replace(b.tensors[tensor], quantization=q)


# biases and weights that more than one operator reads


def shared_bias(b: Builder) -> None:
    """The second convolution gets the bias scale of the first."""
    x, bias = b.input(IMAGE), b.bias(3)
    conv(b, unary(b, "RELU", x), b.weights((3, 1, 1, 4), 0), bias)
    conv(b, x, b.weights((3, 1, 1, 4), 0), bias)


def bias_that_is_added(b: Builder) -> None:
    """It is an addend too: each of its uses as a bias gets a copy."""
    x, bias = b.input(IMAGE), b.bias(4)
    y = conv(b, x, b.weights((4, 1, 1, 4), 0), bias)
    z = add(b, y, bias)
    conv(b, z, b.weights((4, 1, 1, 4), 0), bias)


def bias_that_is_added_first(b: Builder) -> None:
    """A copy has no shape signature."""
    x, bias = b.input(IMAGE), b.bias(4)
    conv(b, add(b, x, bias), b.weights((4, 1, 1, 4), 0), bias)
    b.tensors[bias] = replace(b.tensors[bias], shape_signature=(4,))


def bias_that_is_concatenated(b: Builder) -> None:
    """The table names no operand of CONCATENATION, so no copy is made: the bias becomes int8."""
    x, bias = b.input(IMAGE), b.constant(b.rng.normal(0, 1, (4,)).astype(np.float32))
    conv(b, x, b.weights((4, 1, 1, 4), 0), bias)
    concatenate(b, bias, bias)


def bias_that_a_float_operator_reads(b: Builder) -> None:
    x, bias = b.input(IMAGE), b.bias(4)
    unary(b, "SIN", bias)
    conv(b, x, b.weights((4, 1, 1, 4), 0), bias)


def weights_of_two_convolutions(b: Builder) -> None:
    x, weights = b.input(IMAGE), b.weights((3, 1, 1, 4), 0)
    conv(b, x, weights, b.bias(3))
    conv(b, unary(b, "TANH", x), weights, b.bias(3))


def weights_of_convolution_and_depthwise(b: Builder) -> None:
    """The ranges of the first operator's axis count; the biases of the second do not match them."""
    x, weights = b.input(IMAGE), b.weights((1, 1, 1, 4), 0)
    conv(b, x, weights, b.bias(1))
    depthwise(b, x, weights, b.bias(4))


def weights_without_bias_of_two_axes(b: Builder) -> None:
    x, weights = b.input(IMAGE), numbers(b, (4, 1, 1, 4))
    conv(b, x, weights)
    depthwise(b, x, weights)


def weights_that_are_added_after(b: Builder) -> None:
    """ADD reads a constant with one scale per channel."""
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    add(b, conv(b, x, weights), weights)


def weights_that_are_added_before(b: Builder) -> None:
    """The convolution reads a constant with one scale; without a bias nobody minds."""
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    conv(b, add(b, x, weights), weights)


def weights_that_are_concatenated_before(b: Builder) -> None:
    """CONCATENATION quantizes by the values, as there is one range per channel, and sets one scale."""
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    conv(b, concatenate(b, x, weights), numbers(b, (4, 1, 1, 8)))
    conv(b, x, weights)


def weights_that_are_concatenated_after(b: Builder) -> None:
    """CONCATENATION asks the first channel's scale only, and another QUANTIZE reads all."""
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    conv(b, x, weights)
    concatenate(b, x, weights)


def transposed_weights(b: Builder) -> None:
    """A same-scale operator cannot copy one scale per channel."""
    x, weights = b.input(IMAGE), numbers(b, (4, 1, 1, 4))
    conv(b, x, weights)
    b.op("TRANSPOSE", [weights, integers(b, [3, 1, 2, 0])], [(4, 1, 1, 4)])


def weights_that_are_slopes(b: Builder) -> None:
    """PRELU reads a constant with one scale per channel."""
    x, weights = b.input((4, 1, 1, 4)), numbers(b, (4, 1, 1, 4))
    conv(b, x, weights, b.bias(4))
    b.op("PRELU", [x, weights], [(4, 1, 1, 4)])


def dense_weights_shared_with_convolution(b: Builder) -> None:
    """With per_channel_dense=False the dense layer finds one range per channel."""
    x, y, weights = b.input(IMAGE), b.input((2, 4)), numbers(b, (5, 1, 1, 4))
    conv(b, x, weights, b.bias(5))
    b.op("FULLY_CONNECTED", [y, weights, b.bias(5)], [(2, 5)], NONE, "FullyConnectedOptions")


def computed_weights(b: Builder) -> None:
    """The guard for the bias widens the range of a computed tensor."""
    x, y, bias = b.input((2, 4)), b.input((3, 4)), b.bias(3)
    dense(b, x, unary(b, "RELU", y), bias)
    b.buffers[b.tensors[bias].buffer] = np.array([1e9, -3e8, 2.5], np.float32).tobytes()


def computed_weights_of_a_float_operator(b: Builder) -> None:
    x, y = b.input((2, 4)), b.input((3, 4))
    dense(b, x, unary(b, "COS", y), b.bias(3))


def fed_weights(b: Builder) -> None:
    dense(b, b.input((2, 4)), b.input((3, 4)))


def computed_bias(b: Builder) -> None:
    """The old quantizer ends on reading the values of a bias that is no constant."""
    x = b.input((2, 4))
    dense(b, x, numbers(b, (3, 4)), unary(b, "RELU", b.input((3,))))


def matrix_as_bias(b: Builder) -> None:
    dense(b, b.input((2, 4)), numbers(b, (3, 4)), numbers(b, (1, 3)))


def weights_of_five_dimensions(b: Builder) -> None:
    b.op("FULLY_CONNECTED", [b.input((2, 4)), numbers(b, (3, 1, 1, 1, 4)), -1], [(2, 3)], NONE, "FullyConnectedOptions")


def one_channel(b: Builder) -> None:
    """The guard for the bias has another formula for one channel."""
    conv(b, b.input(IMAGE), b.weights((1, 1, 1, 4), 0), b.bias(1))
    conv(b, b.inputs[0], numbers(b, (1, 1, 1, 4), 1e-9), exactly(b, [1e3]))


def input_of_no_range(b: Builder) -> None:
    """An input scale of zero makes the guard divide by zero."""
    x = b.input(IMAGE)
    with_range(b, x, 0, 0)
    conv(b, x, b.weights((3, 1, 1, 4), 0), b.bias(3))


# in place


def constant_read_by_a_float_operator_first(b: Builder) -> None:
    """SIN keeps on reading the constant that becomes int8 under it."""
    x, c = b.input(ROW), numbers(b, ROW)
    unary(b, "SIN", c)
    add(b, x, c)


def constant_read_by_a_float_operator_later(b: Builder) -> None:
    x, c = b.input(ROW), numbers(b, ROW)
    add(b, x, c)
    unary(b, "SIN", c)


def input_read_by_a_float_operator_first(b: Builder) -> None:
    """SIN keeps on reading the input that becomes int8 under it."""
    x = b.input(ROW)
    unary(b, "SIN", x)
    unary(b, "RELU", x)


def input_read_by_a_float_operator_later(b: Builder) -> None:
    x = b.input(ROW)
    unary(b, "RELU", x)
    unary(b, "SIN", x)
    unary(b, "COS", x)


def float_operator_between(b: Builder) -> None:
    """Each reader of SIN's result gets a QUANTIZE of its own."""
    s = unary(b, "SIN", unary(b, "RELU", b.input(ROW)))
    add(b, s, s)
    unary(b, "RELU6", s)
    unary(b, "FLOOR", s)


def two_float_readers(b: Builder) -> None:
    """Each gets a DEQUANTIZE of its own; one that reads twice gets two."""
    r = unary(b, "RELU", b.input(ROW))
    unary(b, "SIN", r)
    b.op("POW", [r, r], [ROW])


# one scale for operands and result


def scale_of_tanh_through_a_pool(b: Builder) -> None:
    x = b.input(IMAGE)
    concatenate(b, pool(b, unary(b, "TANH", x)), pool(b, x))


def constant_of_one_join(b: Builder) -> None:
    """Rescaled where it stands, also if the operator reads it twice."""
    x, c = b.input(ROW), numbers(b, ROW)
    concatenate(b, x, c, c)
    b.op("MAXIMUM", [x, numbers(b, ROW)], [ROW])
    b.op("PACK", [numbers(b, ROW), x], [(2, 1, 4)], {"values_count": 2, "axis": 0}, "PackOptions")


def constant_of_two_joins(b: Builder) -> None:
    x, c = b.input(ROW), numbers(b, ROW)
    concatenate(b, x, c)
    concatenate(b, c, x)


def constants_far_out_of_range(b: Builder) -> None:
    """Rescaled values beyond int32: int8 saturates, int16 takes the lowest value whatever the sign."""
    x = b.input((1, 5))
    for high in (1e-3, 1e-7, 1e-12, 1e-30, 1e-38, 1e-40):
        y = concatenate(b, x, exactly(b, [[1.0, -1.0, 0.01, 1e-9, 0.0]]))
        with_range(b, y, -2 * high, high)


def long_constants_beyond_int32(b: Builder) -> None:
    """25 elements: vector instructions take 24 or 16 of them, and do something else than the scalar ones behind."""
    signs = np.resize([1.0, -1.0, 0.0], (1, 25)) * 1e-38
    x = b.input((1, 25))
    add(b, x, b.constant(signs.astype(np.float32)))
    y = concatenate(b, x, b.constant((signs * 1e38).astype(np.float32)))
    with_range(b, y, -1e-39, 2e-39)
    c = b.constant(signs.astype(np.float32))
    _assign(b, c)
    r = _read(b, (1, 25))
    with_range(b, r, -1e-38, 1e-38)
    add(b, x, r)


def limits_beyond_int32(b: Builder) -> None:
    """As of a clip with one open end."""
    x, largest = b.input(ROW), float(np.finfo(np.float32).max)
    y = only(b.op("MINIMUM", [x, exactly(b, largest)], [ROW]))
    z = only(b.op("MAXIMUM", [y, exactly(b, -largest)], [ROW]))
    for tensor in (x, y, z):
        with_range(b, tensor, -1, 1)


def constant_of_five_dimensions(b: Builder) -> None:
    """The old quantizer ends on rescaling it."""
    concatenate(b, b.input((1, 1, 1, 2, 3)), numbers(b, (1, 1, 1, 2, 3)))


def same_scale_constants(b: Builder) -> None:
    """Same-scale operators on constants alone, and ones whose second operand is no part of the scale."""
    table, x = numbers(b, (5, 4)), b.input(ROW)
    b.op("GATHER", [table, integers(b, [1, 3])], [(2, 4)], {"axis": 0, "batch_dims": 0}, "GatherOptions")
    b.op("RESHAPE", [numbers(b, (2, 3)), integers(b, [3, 2])], [(3, 2)], {"new_shape": (3, 2)}, "ReshapeOptions")
    b.op("PADV2", [x, integers(b, [[0, 1], [1, 1]]), numbers(b, ())], [(2, 6)])
    b.op("FILL", [integers(b, [2, 3]), numbers(b, ())], [(2, 3)])
    b.op("SCATTER_ND", [integers(b, [[1], [3]]), numbers(b, (2, 4)), integers(b, [5, 4])], [(5, 4)])
    b.op("SUM", [numbers(b, (2, 4)), integers(b, [1])], [(2,)], {"keep_dims": False}, "ReducerOptions")


def two_operands_of_one_scale(b: Builder) -> None:
    """SELECT copies its first value's parameters; the second keeps its own."""
    condition = b.constant(np.array([[True, False, True, False]]))
    b.op("SELECT", [condition, b.input(ROW), b.input(ROW)], [ROW])
    b.op("SELECT", [condition, b.inputs[0], numbers(b, ROW)], [ROW])
    b.op("SELECT", [condition, numbers(b, ROW), b.inputs[0]], [ROW])


# ranges


def range_missing_at_a_result(b: Builder) -> None:
    without_range(b, unary(b, "RELU", b.input(ROW)))


def range_missing_at_an_operand(b: Builder) -> None:
    x = b.input(ROW)
    unary(b, "RELU", x)
    without_range(b, x)


def range_missing_at_a_join(b: Builder) -> None:
    x, y = b.input(ROW), b.input(ROW)
    concatenate(b, x, y)
    without_range(b, y)


def range_missing_at_a_same_scale_result(b: Builder) -> None:
    without_range(b, pool(b, b.input(IMAGE)))


def range_missing_at_a_fixed_result(b: Builder) -> None:
    without_range(b, unary(b, "SOFTMAX", b.input(ROW)))


def range_missing_at_a_float_operator(b: Builder) -> None:
    """Operators whose op has a row need ranges even where they stay float."""
    x = b.input(ROW)
    unary(b, "HARD_SWISH", x)
    without_range(b, x)


def range_of_a_constant(b: Builder) -> None:
    """A calibration may hold one: it counts."""
    x, c = b.input(ROW), numbers(b, ROW)
    with_range(b, c, -0.5, 0.25)
    add(b, x, c)


def range_of_weights_of_one_channel(b: Builder) -> None:
    """Values beyond that range wrap around int8 before they are limited."""
    weights = exactly(b, [[[[1.0, -1.0, 0.3, 0.5]]]])
    with_range(b, weights, -0.01, 0.4)
    conv(b, b.input(IMAGE), weights)


def tiny_weights(b: Builder) -> None:
    """The inverse of such scales is infinite: zeros become the lowest value per tensor, and zero per channel."""
    x = b.input(IMAGE)
    for factor in (1e-36, 1e-38, 1e-40, 1e-44):
        values = np.array([[1, -1, 0, 0.3], [0, 0, 0, 0], [0.5, 0, 2, -2], [1, 1, 1, 1]]) * factor
        conv(b, x, b.constant(values.reshape((4, 1, 1, 4)).astype(np.float32)), b.bias(4))
        add(b, x, b.constant(values[0].astype(np.float32)))


def tiny_ranges(b: Builder) -> None:
    x = b.input(ROW)
    for number, high in enumerate((0.0, 1e-45, 1e-40, 1e-38, 1e-7, 3e38)):
        y = unary(b, "RELU", x)
        with_range(b, y, -high if number % 2 else 0.0, high)
        if high == 3e38:
            with_range(b, y, 0.0, high)


def huge_range(b: Builder) -> None:
    """The difference of its ends is no float32: an infinite scale."""
    with_range(b, unary(b, "RELU", b.input(ROW)), -3e38, 3e38)


# borders


def outputs_of_all_kinds(b: Builder) -> None:
    """A tensor twice, an input, a constant that is read, an inner tensor."""
    x, c = b.input(ROW), numbers(b, ROW)
    y = add(b, x, c)
    unary(b, "TANH", y)
    b.extra_outputs = (y, x, c)  # y also where the model collects its outputs


def idle_input(b: Builder) -> None:
    unary(b, "RELU", b.input(ROW))
    b.input(ROW)


def input_of_two_joins_alone(b: Builder) -> None:
    x = b.input(ROW)
    y = concatenate(b, x, x)
    b.tensors[y] = replace(b.tensors[y], quantization=b.tensors[x].quantization)


def integer_borders(b: Builder) -> None:
    x = b.input((5, 4))
    i = b.input((2,), "INT32")
    b.op("GATHER", [x, i], [(2, 4)], {"axis": 0, "batch_dims": 0}, "GatherOptions")
    b.op("ARG_MAX", [x, integers(b, 1)], [(5,)], {"output_type": "INT32"}, "ArgMaxOptions", ("INT32",))


def names_that_occur_twice(b: Builder) -> None:
    x = b.input(ROW)
    for tensor in (unary(b, "RELU", x), unary(b, "SIN", x), unary(b, "TANH", b.input(ROW))):
        b.tensors[tensor] = replace(b.tensors[tensor], name="twice")


def name_that_an_integer_operator_has_too(b: Builder) -> None:
    """Operators go by the name of their first result: SHAPE counts as working on floats, and its input has no range."""
    x = b.input(ROW)
    y = unary(b, "RELU", x)
    (shape,) = b.op("SHAPE", [b.input((2,), "INT32")], [(1,)], {"out_type": "INT32"}, "ShapeOptions", ("INT32",))
    b.tensors[shape] = replace(b.tensors[shape], name=b.tensors[y].name)
    for tensor in (x, unary(b, "RELU6", y)):
        b.tensors[tensor] = replace(b.tensors[tensor], name="")


def dynamic_shapes(b: Builder) -> None:
    x = b.input(ROW)
    s = unary(b, "SIN", unary(b, "RELU", x))
    unary(b, "COS", unary(b, "RELU", s))
    b.tensors[:] = [replace(t, shape_signature=(-1, *t.shape[1:])) for t in b.tensors]


# types


def integer_operators(b: Builder) -> None:
    """They stay as they are, but count as float where none is allowed, as long as their op has no row."""
    i = b.input((4,), "INT32")
    b.op("CAST", [i], [(4,)], {"in_data_type": "INT32", "out_data_type": "FLOAT32"})
    b.op("RANK", [i], [()], None, None, ("INT32",))
    b.op("ADD", [i, i], [(4,)], NONE, "AddOptions", ("INT32",))


def integer_operators_with_rows(b: Builder) -> None:
    i = b.input((4,), "INT32")
    b.op("ADD", [i, i], [(4,)], NONE, "AddOptions", ("INT32",))
    concatenate_options = {"axis": 0, **NONE}
    b.op("CONCATENATION", [i, i], [(8,)], concatenate_options, "ConcatenationOptions", ("INT32",))
    unary(b, "RELU", b.input(ROW))


def float_condition(b: Builder) -> None:
    """WHERE is to have a quantized result, but its result is int64."""
    b.op("WHERE", [b.input((4,))], [(4, 1)], None, None, ("INT64",))


def bool_condition(b: Builder) -> None:
    b.op("WHERE", [b.input((4,), "BOOL")], [(4, 1)], None, None, ("INT64",))


def shape_of_float(b: Builder) -> None:
    b.op("SHAPE", [b.input(ROW)], [(2,)], {"out_type": "INT32"}, "ShapeOptions", ("INT32",))


# recurrent operators and variables


def svdf(b: Builder, bias: bool = True) -> None:
    """Rank 2, three units, memory of five."""
    x = b.input((1, 4))
    b.tensors.append(Tensor("state", "FLOAT32", (1, 30), 0, b.range(), is_variable=True))
    state = len(b.tensors) - 1
    options = {"rank": 2, "fused_activation_function": "RELU", "asymmetric_quantize_inputs": False}
    inputs = [x, numbers(b, (6, 4)), numbers(b, (6, 5)), b.bias(3) if bias else -1, state]
    b.op("SVDF", inputs, [(1, 3)], options, "SVDFOptions")


def svdf_without_bias(b: Builder) -> None:
    svdf(b, bias=False)


def basic_lstm(b: Builder) -> None:
    """Of five operands: it stays float."""
    x, activation, state = b.input((1, 4)), b.input((1, 3)), b.input((1, 3))
    shapes = [(1, 3), (1, 3), (1, 7), (1, 12)]
    options = {"fused_activation_function": "TANH", "cell_clip": 0.0, "proj_clip": 0.0, "kernel_type": "BASIC"}
    b.op("LSTM", [x, activation, numbers(b, (12, 7)), b.bias(12), state], shapes, options, "LSTMOptions")
    b.operators[-1] = replace(b.operators[-1], version=2)


def variable(b: Builder) -> None:
    """All that one variable is given and gives has the union of the ranges."""
    x = b.input(ROW)
    _assign(b, numbers(b, ROW))
    _assign(b, unary(b, "RELU", x))
    add(b, x, _read(b))


def variable_of_a_constant(b: Builder, factor: float = 1.0) -> None:
    x = b.input(ROW)
    _assign(b, exactly(b, [[factor, -factor, 0.0, factor / 3]]))
    r = _read(b)
    with_range(b, r, -factor, factor)
    add(b, x, r)


def variable_of_a_tiny_constant(b: Builder) -> None:
    variable_of_a_constant(b, 1e-40)


def variable_without_range(b: Builder) -> None:
    x = b.input(ROW)
    _assign(b, x)
    r = _read(b)
    without_range(b, r)
    add(b, x, r)


def _handle(b: Builder) -> int:
    known = [i for i, t in enumerate(b.tensors) if t.type == "RESOURCE"]
    if known:
        return known[0]
    b.tensors.append(Tensor("handle", "RESOURCE", ()))
    handle = len(b.tensors) - 1
    b.used.add(handle)
    options = {"container": "c", "shared_name": "v"}
    b.operators.append(Operator("VAR_HANDLE", (), (handle,), 1, options_type="VarHandleOptions", options=options))
    return handle


def _assign(b: Builder, value: int) -> None:
    handle = _handle(b)
    b.used.add(value)
    b.operators.append(Operator("ASSIGN_VARIABLE", (handle, value), (), 1, options_type="AssignVariableOptions"))


def _read(b: Builder, shape: Shape = ROW) -> int:
    return only(b.op("READ_VARIABLE", [_handle(b)], [shape], {}, "ReadVariableOptions"))


# buffers that two tensors share


def share_buffer(b: Builder, first: int, second: int) -> None:
    b.tensors[second] = replace(b.tensors[second], buffer=b.tensors[first].buffer)


def shared_zero_biases(b: Builder) -> None:
    """As a converter's deduplication leaves them."""
    x = b.input(IMAGE)
    biases = [exactly(b, [0.0] * 3) for _ in range(2)]
    share_buffer(b, *biases)
    for bias in biases:
        conv(b, x, b.weights((3, 1, 1, 4), 0), bias)


def zero_bias_and_integer_zeros(b: Builder) -> None:
    x, bias, begin = b.input(IMAGE), exactly(b, [0.0] * 4), integers(b, [0] * 4)
    share_buffer(b, bias, begin)
    y = conv(b, x, b.weights((4, 1, 1, 4), 0), bias)
    b.op("SLICE", [y, begin, integers(b, [1, 2, 2, 4])], [(1, 2, 2, 4)])


GRAPHS = (
    shared_bias, bias_that_is_added, bias_that_is_added_first, bias_that_is_concatenated,
    bias_that_a_float_operator_reads, weights_of_two_convolutions, weights_of_convolution_and_depthwise,
    weights_without_bias_of_two_axes, weights_that_are_added_after, weights_that_are_added_before,
    weights_that_are_concatenated_before, weights_that_are_concatenated_after, transposed_weights,
    weights_that_are_slopes, dense_weights_shared_with_convolution, computed_weights,
    computed_weights_of_a_float_operator, fed_weights, computed_bias, matrix_as_bias, weights_of_five_dimensions,
    one_channel, input_of_no_range, constant_read_by_a_float_operator_first,
    constant_read_by_a_float_operator_later, input_read_by_a_float_operator_first,
    input_read_by_a_float_operator_later, float_operator_between, two_float_readers, scale_of_tanh_through_a_pool,
    constant_of_one_join, constant_of_two_joins, constants_far_out_of_range, limits_beyond_int32,
    long_constants_beyond_int32, constant_of_five_dimensions, same_scale_constants, two_operands_of_one_scale,
    range_missing_at_a_result, range_missing_at_an_operand, range_missing_at_a_join,
    range_missing_at_a_same_scale_result, range_missing_at_a_fixed_result, range_missing_at_a_float_operator,
    range_of_a_constant, range_of_weights_of_one_channel, tiny_weights, tiny_ranges, huge_range,
    outputs_of_all_kinds, idle_input, input_of_two_joins_alone, integer_borders, names_that_occur_twice,
    dynamic_shapes, integer_operators, name_that_an_integer_operator_has_too, integer_operators_with_rows,
    float_condition, bool_condition, shape_of_float, svdf, svdf_without_bias, basic_lstm, variable,
    variable_of_a_constant, variable_of_a_tiny_constant, variable_without_range, shared_zero_biases,
    zero_bias_and_integer_zeros,
)  # fmt: skip


def legacy_graph(build: Callable[[Builder], None], rng: np.random.Generator) -> Model:
    """The graph with drawn ranges and a signature on all its inputs and outputs."""
    b = Builder(rng)
    build(b)
    model = b.model(b.extra_outputs[:1])
    graph = replace(model.graph, outputs=(*model.graph.outputs, *b.extra_outputs))
    inputs = tuple((f"i{n}", tensor) for n, tensor in enumerate(graph.inputs))
    outputs = tuple((f"o{n}", tensor) for n, tensor in enumerate(graph.outputs))
    return replace(model.with_graph(graph), signatures=(Signature("serving_default", inputs, outputs),))
