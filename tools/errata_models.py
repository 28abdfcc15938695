"""A tiny model and its inputs for errata of refquant/errata.py, by key: what tools/make_errata.py asks the runtimes.

`faulty` is the real runtime that shows the erratum; `sound` one that does not, or the described runtime "exact", or
nothing: then `right` is the answer by the operator's definition, reckoned by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from graphs import Graphs, binary, constant, floats, loop
from models import T, one_op
from refquant.model import write_model
from refquant.model.graph import Graph, Model, Operator, Tensor

REFERENCE, OPTIMIZED, DEFAULT = "litert:reference", "litert:optimized", "litert:default"
OLD_DEFAULT = "tensorflow:default"
MICRO = "tflm:real"
EXACT = "exact"


@dataclass(frozen=True, slots=True)
class Example:
    """One tiny model. `samples`: for each run the inputs in the model's order. `right`: for each run the one output.

    `read`: tensors to read instead of the outputs, with experimental_preserve_all_tensors. `unstable`: runtimes whose
    answer is what happened to be in memory. `patch`: (old, new) bytes, for files that refquant does not write.
    """

    model: Model
    samples: tuple[tuple[np.ndarray, ...], ...]
    faulty: str
    sound: str = ""
    right: tuple[np.ndarray, ...] = ()
    read: tuple[int, ...] = ()
    unstable: tuple[str, ...] = ()
    patch: tuple[bytes, bytes] | None = field(default=None)

    def file(self) -> bytes:
        """The model's bytes."""
        data = write_model(self.model)
        if self.patch is None:
            return data
        assert data.count(self.patch[0]) == 1
        return data.replace(*self.patch)


def i8(*values: object) -> np.ndarray:
    """An int8 array."""
    return np.array(values, np.int8)


def i32(*values: object) -> np.ndarray:
    """An int32 array."""
    return np.array(values, np.int32)


def f32(*values: object) -> np.ndarray:
    """A float32 array."""
    return np.array(values, np.float32)


ROW = 16  # as many codes as the optimized kernels take at once
OUTSIDE = 77  # stands for the zero point that no writer lets through


def _depthwise_without_bias() -> Model:
    filter_ = T(data=np.ones((1, 1, 1, 2), np.int8), scale=[1.0, 1.0], axis=3)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1, "depth_multiplier": 1}
    image = T((1, 1, 1, 2), "INT8", 1.0)
    return one_op("DEPTHWISE_CONV_2D", [image, filter_], [T((1, 1, 1, 2), "INT8", 1.0)], options, 3)


def _one_by_one(output_scale: float, channels: int = 1, bias_scales: int = 1) -> Model:
    """A convolution of one pixel by 0.5, or by 1 in several channels."""
    scale = 0.5 if channels == 1 else 1.0
    filter_ = T(data=np.ones((channels, 1, 1, 1), np.int8), scale=[scale] * channels)
    bias = T(data=np.zeros(channels, np.int32), scale=[scale] * bias_scales)
    options = {"padding": "VALID", "stride_h": 1, "stride_w": 1}
    output = T((1, 1, 1, channels), "INT8", output_scale)
    return one_op("CONV_2D", [T((1, 1, 1, 1), "INT8", 1.0), filter_, bias], [output], options, 3)


def _two_by_one(op: str, type: str = "INT8") -> Model:
    """A filter of 2 by 1 over 4 by 4 pixels, SAME, strides 2: along the width it is narrower than its stride."""
    one = np.ones((1, 2, 1, 1), np.int8 if type == "INT8" else np.float32)
    scale = 1.0 if type == "INT8" else None
    bias = np.zeros(1, np.int32 if type == "INT8" else np.float32)
    options = {"padding": "SAME", "stride_h": 2, "stride_w": 2}
    options |= {"depth_multiplier": 1} if op == "DEPTHWISE_CONV_2D" else {}
    inputs = [
        T((1, 4, 4, 1), type, scale),
        T(data=one, scale=scale, axis=3 * (op != "CONV_2D")),
        T(data=bias, scale=scale),
    ]
    return one_op(op, inputs, [T((1, 2, 2, 1), type, scale)], options, 3)


def _pair(
    op: str, type: str, output_scale: float, output_zero_point: int = 0, shape: tuple[int, ...] = (1, 2)
) -> Model:
    inputs = [T(shape, type, 1.0), T(shape, type, 1.0)]
    return one_op(op, inputs, [T(shape, type, output_scale, output_zero_point)], {}, 1)


def _sum(type: str, output_zero_point: int, rows: int = 1) -> Model:
    input_zero_point = 0 if type == "INT16" else 1
    inputs = [T((rows, 3), type, 0.5, input_zero_point), T(data=i32(0 if rows == 0 else 1))]
    output = T((3,) if rows == 0 else (1,), type, 0.5, output_zero_point)
    return one_op("SUM", inputs, [output], {})


def _float16_constant() -> Model:
    """input + widened float16 constants."""
    tensors = (
        Tensor("input", "FLOAT32", (1, 2), 0, None),
        Tensor("halves", "FLOAT16", (1, 2), 1, None),
        Tensor("widened", "FLOAT32", (1, 2), 0, None),
        Tensor("output", "FLOAT32", (1, 2), 0, None),
    )
    operators = (
        Operator("DEQUANTIZE", (1,), (2,), 3, options={}),
        Operator("ADD", (0, 2), (3,), 1, options={}),
    )
    halves = np.array([[1.5, -2.0]], np.float16).tobytes()
    return Model((Graph(tensors, operators, (0,), (3,), "main"),), (b"", halves), description="two operators")


def _sum_read_behind_its_softmax() -> Model:
    """output = sum + softmax(reshape(sum)), sum = 2 * input + input."""
    tensors = {name: floats(1, 2) for name in ("input", "twice", "sum", "same", "softmax", "output")}
    tensors["shape"] = constant([1, 2], np.int32)
    operators = [
        binary("ADD", "input", "input", "twice"),
        binary("ADD", "twice", "input", "sum"),
        ("RESHAPE", ("sum", "shape"), ("same",), {"new_shape": (1, 2)}),
        ("SOFTMAX", ("same",), ("softmax",), {"beta": 1.0}),
        binary("ADD", "sum", "softmax", "output"),
    ]
    return Graphs().add(tensors, operators, ("input",), ("output",)).model(description="five operators")


PIXELS = np.arange(16, dtype=np.int8).reshape(1, 4, 4, 1)
TIES = tuple((np.full((1, 1, 1, 1), value, np.int8),) for value in (-6, -2, 2, 6))

EXAMPLES: Mapping[str, Example] = {
    # the reference kernels
    "sum-int8-read-as-uint8": Example(_sum("INT8", 2), ((i8([-3, 4, 7]),),), REFERENCE, OPTIMIZED),
    "sum-int16-read-as-uint8": Example(
        _sum("INT16", 0), ((np.array([[-3, 4, 7]], np.int16),),), REFERENCE, OPTIMIZED, unstable=(REFERENCE,)
    ),
    "softmax-8bit-flat-rows": Example(
        one_op("SOFTMAX", [T((1, 512), "INT8", 1.0)], [T((1, 512), "INT8", 1 / 256, -128)], {"beta": 1.0}),
        ((np.zeros((1, 512), np.int8),),),
        REFERENCE,
        OPTIMIZED,
    ),
    "softmax-int8-to-int16": Example(
        one_op("SOFTMAX", [T((1, 2), "INT8", 1.0)], [T((1, 2), "INT16", 1 / 32768)], {"beta": 1.0}),
        ((i8([0, 0]),),),
        REFERENCE,
        OPTIMIZED,
    ),
    "reduce-max-infinity": Example(
        one_op("REDUCE_MAX", [T((1, 2), "FLOAT32"), T(data=i32(1))], [T((1,), "FLOAT32")], {}),
        ((f32([-np.inf, -np.inf]),),),
        REFERENCE,
        OPTIMIZED,
    ),
    "add-multiplier-one": Example(_pair("ADD", "INT8", 2.0**-22), ((i8([1, 1]), i8([1, 1])),), REFERENCE, EXACT),
    "order-comparisons-int16": Example(
        one_op("GREATER", [T((1, 1), "INT16", 1.0), T((1, 1), "INT16", 0.5)], [T((1, 1), "BOOL")], {}, 2),
        ((np.array([[3]], np.int16), np.array([[4]], np.int16)),),
        REFERENCE,
        EXACT,
    ),
    "shift-over-30": Example(
        _pair("MUL", "INT8", 3e-35, shape=(1, ROW)),
        ((np.ones((1, ROW), np.int8), np.ones((1, ROW), np.int8)),),
        OPTIMIZED,
        REFERENCE,
    ),
    "int16-bias-type-not-set": Example(
        one_op(
            "TRANSPOSE_CONV",
            [
                T(data=i32(1, 1, 1, 2)),
                T(data=np.ones((2, 1, 1, 1), np.int8), scale=[0.5, 0.5]),
                T((1, 1, 1, 1), "INT16", 1.0),
                T(data=i32(5, 7), scale=[0.5, 0.5]),
            ],
            [T((1, 1, 1, 2), "INT16", 1.0)],
            {"padding": "VALID", "stride_h": 1, "stride_w": 1},
            3,
        ),
        ((np.full((1, 1, 1, 1), 100, np.int16),),),
        REFERENCE,
        EXACT,
    ),
    "reduce-prod-int8-empty": Example(
        one_op("REDUCE_PROD", [T((0, 2), "INT8", 0.5), T(data=i32(0))], [T((2,), "INT8", 0.5)], {}, 2),
        ((np.zeros((0, 2), np.int8),),),
        REFERENCE,
        right=(i8(2, 2),),
        unstable=(REFERENCE, OPTIMIZED, DEFAULT, MICRO),
    ),
    "batch-matmul-per-channel": Example(
        one_op(
            "BATCH_MATMUL",
            [T((1, 1, 2), "INT8", 1.0), T(data=i8([[1, 0], [0, 1]]), scale=[1.0, 2.0], axis=2)],
            [T((1, 1, 2), "INT8", 1.0)],
            {},
            2,
        ),
        ((i8([[1, 2]]),),),
        REFERENCE,
        right=(i8([[1, 4]]),),
    ),
    "batch-matmul-int32-output": Example(
        one_op(
            "BATCH_MATMUL",
            [T((1, 1, 1), "INT8", 1.0, 1), T((1, 1, 1), "INT8", 1.0)],
            [T((1, 1, 1), "INT32", 1.0)],
            {},
            2,
        ),
        ((i8([[3]]), i8([[4]])),),
        REFERENCE,
        right=(i32([[8]]),),
    ),
    "fully-connected-cast": Example(
        one_op(
            "FULLY_CONNECTED",
            [T((1, 1), "INT8", 1000.0), T(data=i8([100]), scale=1000.0), T(data=i32(0), scale=1e6)],
            [T((1, 1), "INT8", 2.0**-20)],
            {},
            4,
        ),
        ((i8([100]),),),
        REFERENCE,
        right=(i8([127]),),
    ),
    "filter-zero-point-unread": Example(
        one_op(
            "DEPTHWISE_CONV_2D",
            [
                T((1, 1, 1, 1), "INT8", 1.0),
                T(data=i8([[[3]]]), scale=1.0, zero_point=1, axis=3),
                T(data=i32(0), scale=1.0),
            ],
            [T((1, 1, 1, 1), "INT8", 1.0)],
            {"padding": "VALID", "stride_h": 1, "stride_w": 1, "depth_multiplier": 1},
            3,
        ),
        ((i8([[[5]]]),),),
        REFERENCE,
        right=(i8([[[10]]]),),
    ),
    "pool-parameters-unchecked": Example(
        one_op(
            "MAX_POOL_2D",
            [T((1, 1, 1, 1), "INT8", 1.0)],
            [T((1, 1, 1, 1), "INT8", 0.5)],
            {"padding": "VALID", "stride_h": 1, "stride_w": 1, "filter_height": 1, "filter_width": 1},
            2,
        ),
        ((i8([[[5]]]),),),
        REFERENCE,
        right=(i8([[[10]]]),),
    ),
    "movement-parameters-unchecked": Example(
        one_op("RESHAPE", [T((1, 2), "INT8", 1.0), T(data=i32(2))], [T((2,), "INT8", 0.5)], {"new_shape": (2,)}),
        ((i8([3, 4]),),),
        REFERENCE,
        right=(i8(6, 8),),
    ),
    "fused-tanh-unread": Example(
        one_op(
            "CONV_2D",
            [T((1, 1, 1, 1), "FLOAT32"), T(data=f32([[[1]]])), T(data=f32(0))],
            [T((1, 1, 1, 1), "FLOAT32")],
            {"padding": "VALID", "stride_h": 1, "stride_w": 1, "fused_activation_function": "TANH"},
        ),
        ((f32([[[1]]]),),),
        REFERENCE,
        right=(f32([[[0.7615942]]]),),
    ),
    "one-hot-int64": Example(
        one_op(
            "ONE_HOT",
            [
                T((1,), "INT64"),
                T(data=np.array(3, np.int32)),
                T(data=np.array(1, np.int32)),
                T(data=np.array(0, np.int32)),
            ],
            [T((1, 3), "INT32")],
            {"axis": -1},
        ),
        ((np.array([2**32 + 1], np.int64),),),
        REFERENCE,
        right=(i32([0, 0, 0]),),
    ),
    "range-float-accumulates": Example(
        one_op("RANGE", [T((), "FLOAT32"), T((), "FLOAT32"), T((), "FLOAT32")], [T((10,), "FLOAT32")], {}),
        (tuple(np.array(value, np.float32) for value in (0, 1, 0.1)),),
        REFERENCE,
        right=(np.arange(10, dtype=np.float32) * np.float32(0.1),),
    ),
    "comparison-scale-one": Example(
        one_op("EQUAL", [T((1, 1), "INT8", 1.0), T((1, 1), "INT8", 0.5)], [T((1, 1), "BOOL")], {}, 2),
        ((i8([2]), i8([4])),),
        REFERENCE,
        right=(np.array([[True]]),),
    ),
    "quantize-not-finite": Example(
        one_op("QUANTIZE", [T((1, 2), "FLOAT32")], [T((1, 2), "INT8", 1.0)], {}),
        ((f32([np.inf, -np.inf]),),),
        REFERENCE,
        right=(i8([127, -128]),),
    ),
    "sqrt-int8-truncates": Example(
        one_op("SQRT", [T((1, 2), "INT8", 1.0)], [T((1, 2), "INT8", 1.0)], {}),
        ((i8([8, 9]),),),
        REFERENCE,
        right=(i8([3, 3]),),
    ),
    "raw-codes": Example(
        one_op("MAXIMUM", [T((1, 1), "INT8", 1.0), T((1, 1), "INT8", 0.5)], [T((1, 1), "INT8", 1.0)], {}, 2),
        ((i8([2]), i8([3])),),
        REFERENCE,
        right=(i8([2]),),
    ),
    "maximum-nan": Example(
        one_op("MAXIMUM", [T((1, 2), "FLOAT32"), T((1, 2), "FLOAT32")], [T((1, 2), "FLOAT32")], {}),
        ((f32([np.nan, 1]), f32([1, np.nan])),),
        REFERENCE,
        right=(f32([np.nan, np.nan]),),
    ),
    "local-response-window": Example(
        one_op(
            "LOCAL_RESPONSE_NORMALIZATION",
            [T((1, 1, 1, 4), "FLOAT32")],
            [T((1, 1, 1, 4), "FLOAT32")],
            {"radius": 1, "bias": 0.0, "alpha": 1.0, "beta": 1.0},
        ),
        ((f32([[[1, 1, 1, 1]]]),),),
        REFERENCE,
        right=(f32([[[1 / 2, 1 / 3, 1 / 3, 1 / 2]]]),),
    ),
    "add-int16-pot-broadcast": Example(
        one_op(
            "ADD",
            [T((1, 2), "INT16", 2.0**-8), T((1, 1), "INT16", 2.0**-8)],
            [T((1, 2), "INT16", 2.0**-8)],
            {"pot_scale_int16": True},
            2,
        ),
        ((np.array([[1, 2]], np.int16), np.array([[3]], np.int16)),),
        REFERENCE,
        right=(np.array([[4, 5]], np.int16),),
    ),
    "not-equal-int16-unquantized": Example(
        one_op("NOT_EQUAL", [T((1, 2), "INT16"), T((1, 2), "INT16")], [T((1, 2), "BOOL")], {}, 2),
        ((np.array([[1, 2]], np.int16), np.array([[3, 4]], np.int16)),),
        REFERENCE,
        right=(np.array([[True, True]]),),
        unstable=(REFERENCE, OPTIMIZED, DEFAULT),
    ),
    "fully-connected-remainder": Example(
        one_op(
            "FULLY_CONNECTED",
            [T((1, 3), "INT8", 1.0), T(data=i8([1, 1]), scale=1.0), T(data=i32(0), scale=1.0)],
            [T((1, 1), "INT8", 1.0)],
            {},
            4,
        ),
        ((i8([1, 2, 3]),),),
        REFERENCE,
        DEFAULT,
    ),
    "transpose-repeated-axis": Example(
        one_op("TRANSPOSE", [T((2, 2), "INT8", 1.0), T(data=i32(0, 0))], [T((2, 2), "INT8", 1.0)], {}),
        ((i8([1, 2], [3, 4]),),),
        REFERENCE,
        DEFAULT,
        unstable=(REFERENCE, OPTIMIZED, MICRO),
    ),
    "elu-not-registered": Example(
        one_op("ELU", [T((1, 1), "FLOAT32")], [T((1, 1), "FLOAT32")], {}), ((f32([-1]),),), REFERENCE, OPTIMIZED
    ),
    "svdf-int8-state": Example(
        one_op(
            "SVDF",
            [
                T((1, 2), "INT8", 1.0),
                T(data=i8([1, 2]), scale=1.0),
                T(data=i8([1, 1]), scale=1.0),
                T(data=i32(0), scale=1.0),
                T((1, 2), "INT8", 1.0, variable=True),
            ],
            [T((1, 1), "INT8", 1.0)],
            {"rank": 1, "fused_activation_function": "RELU"},
            3,
        ),
        ((i8([1, 2]),),),
        REFERENCE,
        MICRO,
        unstable=(REFERENCE, OPTIMIZED, DEFAULT),
    ),
    "reverse-empty": Example(
        one_op("REVERSE_V2", [T((1, 2), "INT8", 1.0), T(data=np.zeros(0, np.int32))], [T((1, 2), "INT8", 1.0)], {}, 3),
        ((i8([1, 2]),),),
        REFERENCE,
        right=(i8([1, 2]),),
    ),
    "index-operand-types": Example(
        one_op("TRANSPOSE", [T((1, 2, 2), "INT8", 1.0), T(data=np.array([2, 1, 0]))], [T((2, 2, 1), "INT8", 1.0)], {}),
        ((i8([[1, 2], [3, 4]]),),),
        REFERENCE,
        right=(i8([[1], [3]], [[2], [4]]),),
    ),
    "hard-swish-tiny": Example(
        one_op("HARD_SWISH", [T((1, 4), "INT8", 2.0**-6)], [T((1, 4), "INT8", 2.0**12)], {}),
        ((i8([-100, -50, 50, 127]),),),
        REFERENCE,
        right=(i8([0, 0, 0, 0]),),
    ),
    "div-minimum": Example(
        one_op("FLOOR_MOD", [T((1,), "INT32"), T((1,), "INT32")], [T((1,), "INT32")], {}),
        ((i32(-(2**31)), i32(-1)),),
        REFERENCE,
        right=(i32(0),),
    ),
    "pow-one-exponent": Example(
        one_op("POW", [T((1, 2), "FLOAT32"), T((1,), "FLOAT32")], [T((1, 2), "FLOAT32")], {}),
        ((f32([3, 5]), f32(2.000005)),),
        REFERENCE,
        right=((np.array([[3, 5]], np.float64) ** np.float32(2.000005).astype(np.float64)).astype(np.float32),),
    ),
    "round-half-up-to-zero": Example(
        one_op("ROUND", [T((1, 2), "FLOAT32")], [T((1, 2), "FLOAT32")], {}),
        ((f32([-0.25, -0.5]),),),
        OPTIMIZED,
        right=(f32([-0.0, -0.0]),),
    ),
    "hybrid-minus-128": Example(
        one_op(
            "FULLY_CONNECTED",
            [T((1, 16), "FLOAT32"), T(data=np.full((1, 16), -128, np.int8), scale=2.0**-7), None],
            [T((1, 1), "FLOAT32")],
            {},
            3,
        ),
        ((np.full((1, 16), -1, np.float32),),),
        REFERENCE,
        right=(f32([16]),),
    ),
    "hybrid-zero-points": Example(
        one_op(
            "FULLY_CONNECTED",
            [T((1, 1), "FLOAT32"), T(data=i8([3]), scale=1.0, zero_point=1), None],
            [T((1, 1), "FLOAT32")],
            {},
            3,
        ),
        ((f32([1]),),),
        REFERENCE,
        right=(f32([2]),),
    ),
    "logistic-int16-scales": Example(
        one_op("LOGISTIC", [T((1, 2), "INT16", 8.0)], [T((1, 2), "INT16", 2.0**-15)], {}, 3),
        ((np.array([[30000, -30000]], np.int16),),),
        REFERENCE,
        right=(np.array([[32767, 0]], np.int16),),
    ),
    "int16-filter-read-as-int8": Example(
        one_op(
            "CONV_2D",
            [
                T((1, 1, 1, 1), "INT16", 1.0),
                T(data=np.full((1, 1, 1, 1), 256, np.int16), scale=[2.0**-8]),
                T(data=np.zeros(1, np.int64), scale=[2.0**-8]),
            ],
            [T((1, 1, 1, 1), "INT16", 1.0)],
            {"padding": "VALID", "stride_h": 1, "stride_w": 1},
            4,
        ),
        ((np.full((1, 1, 1, 1), 100, np.int16),),),
        REFERENCE,
        right=(np.full((1, 1, 1, 1), 100, np.int16),),
    ),
    "prelu-int16-alpha": Example(
        one_op(
            "PRELU",
            [T((1, 1, 1, 1), "INT16", 1.0), T(data=np.full((1, 1, 1), 256, np.int16), scale=2.0**-8)],
            [T((1, 1, 1, 1), "INT16", 1.0)],
            {},
        ),
        ((np.full((1, 1, 1, 1), -100, np.int16),),),
        REFERENCE,
        right=(np.full((1, 1, 1, 1), -100, np.int16),),
    ),
    "interpolated-tables-off-at-knots": Example(
        one_op("EXP", [T((1, 1), "INT16", 2.0**-9)], [T((1, 1), "INT16", 2.0**-8)], {}, 2),
        ((np.array([[0]], np.int16),),),
        REFERENCE,
        right=(np.array([[256]], np.int16),),
    ),
    "while-handed-on": Example(
        loop({"a": floats(2), "b": floats(2)}, [], ("b", "a"), {}),
        ((np.array(1, np.int32), f32(1, -2), f32(10, 20)),),
        REFERENCE,
        MICRO,
    ),
    "in-place-chain": Example(_sum_read_behind_its_softmax(), ((f32([1, 2]),),), REFERENCE, MICRO),
    # the optimized kernels
    "depthwise-without-bias": Example(_depthwise_without_bias(), ((i8([[[3, -4]]]),),), OPTIMIZED, REFERENCE),
    "sum-of-nothing-unwritten": Example(
        _sum("INT8", 3, rows=0),
        ((np.zeros((0, 3), np.int8),),),
        OPTIMIZED,
        DEFAULT,
        unstable=(REFERENCE, OPTIMIZED, MICRO, OLD_DEFAULT),
    ),
    "vectors-beyond-16-bits": Example(
        _pair("MUL", "INT8", 2.0**-6, 10, (1, ROW)),
        ((np.full((1, ROW), 100, np.int8), np.full((1, ROW), 100, np.int8)),),
        OPTIMIZED,
        REFERENCE,
    ),
    "add-vectors-beyond-16-bits": Example(
        _pair("ADD", "INT8", 2.0**-9, 10, (1, ROW)),
        ((np.full((1, ROW), 100, np.int8), np.full((1, ROW), 100, np.int8)),),
        OPTIMIZED,
        REFERENCE,
    ),
    "half-way-values-upwards": Example(_one_by_one(2.0), TIES, OPTIMIZED, REFERENCE),
    # XNNPACK
    "xnnpack-narrow-filter-same": Example(_two_by_one("CONV_2D"), ((PIXELS,),), OLD_DEFAULT, DEFAULT),
    "xnnpack-narrow-depthwise-filter-same": Example(
        _two_by_one("DEPTHWISE_CONV_2D", "FLOAT32"), ((PIXELS.astype(np.float32),),), OLD_DEFAULT, DEFAULT
    ),
    "xnnpack-batch-matmul-right-zero-point": Example(
        one_op(
            "BATCH_MATMUL",
            [T((1, 1, 2), "INT8", 1.0), T((1, 2, 1), "INT8", 1.0, -10)],
            [T((1, 1, 1), "INT8", 1.0)],
            {},
            2,
        ),
        ((i8([[1, 2]]), i8([[3], [4]])),),
        OLD_DEFAULT,
        DEFAULT,
    ),
    "xnnpack-invalid-zero-point": Example(
        one_op("QUANTIZE", [T((1, 2), "FLOAT32")], [T((1, 2), "UINT8", 1.0, OUTSIDE)]),
        ((f32([1, 9]),),),
        DEFAULT,
        REFERENCE,
        patch=(OUTSIDE.to_bytes(8, "little"), (-3).to_bytes(8, "little", signed=True)),
    ),
    "xnnpack-bias-scales": Example(_one_by_one(1.0, 2), ((i8([[[3]]]),),), DEFAULT, REFERENCE),
    "xnnpack-movement-scales": Example(
        one_op("TRANSPOSE", [T((2, 2), "INT8", 1.0), T(data=i32(1, 0))], [T((2, 2), "INT8", 0.5)], {}),
        ((i8([1, 2], [3, 4]),),),
        DEFAULT,
        REFERENCE,
    ),
    "xnnpack-folded-constants": Example(
        _float16_constant(), ((f32([10, 20]),),), DEFAULT, REFERENCE, read=(2, 3), unstable=(DEFAULT, OLD_DEFAULT)
    ),
    "xnnpack-subnormals": Example(
        one_op("SUB", [T((1, 1), "FLOAT32"), T((1, 1), "FLOAT32")], [T((1, 1), "FLOAT32")], {}),
        ((f32([1e-40]), f32([0])),),
        DEFAULT,
        REFERENCE,
    ),
    # TensorFlow Lite Micro
    "fully-connected-two-roundings": Example(
        one_op(
            "FULLY_CONNECTED",
            [T((1, 1), "INT8", 1.0), T(data=i8([1]), scale=0.5), T(data=i32(0), scale=0.5)],
            [T((1, 1), "INT8", 2.0)],
            {},
            4,
        ),
        ((i8([1]),), (i8([3]),), (i8([-3]),)),
        MICRO,
        REFERENCE,
    ),
    "tflm-space-to-batch-code-0": Example(
        one_op(
            "SPACE_TO_BATCH_ND",
            [T((1, 1, 1, 1), "INT8", 1.0, -5), T(data=i32(1, 2)), T(data=i32([0, 0], [0, 1]))],
            [T((2, 1, 1, 1), "INT8", 1.0, -5)],
            {},
            2,
        ),
        ((i8([[[7]]]),),),
        MICRO,
        REFERENCE,
    ),
    "tflm-dequantize-first-scale": Example(
        one_op("DEQUANTIZE", [T((1, 2), "INT8", [1.0, 10.0], axis=1)], [T((1, 2), "FLOAT32")], {}, 5),
        ((i8([3, 3]),),),
        MICRO,
        REFERENCE,
    ),
    "tflm-embedding-first-scale": Example(
        one_op(
            "EMBEDDING_LOOKUP",
            [T((1,), "INT32"), T(data=i8([1, 2], [3, 4]), scale=[0.5, 2.0])],
            [T((1, 2), "FLOAT32")],
            {},
            3,
        ),
        ((i32(1),),),
        MICRO,
        REFERENCE,
    ),
    "tflm-relu6-output-scale": Example(
        one_op("RELU6", [T((1, 2), "INT8", 0.125)], [T((1, 2), "INT8", 0.0625, -128)], {}, 2),
        ((i8([20, 100]),),),
        MICRO,
        REFERENCE,
    ),
    "tflm-logistic-output-scale": Example(
        one_op("LOGISTIC", [T((1, 4), "INT8", 0.0625)], [T((1, 4), "INT8", 1 / 128, -128)], {}),
        ((i8([44, -127, -100, 100]),),),
        MICRO,
        DEFAULT,
    ),
    "tflm-mul-int16-unquantized": Example(
        one_op("MUL", [T((1, 2), "INT16"), T((1, 2), "INT16")], [T((1, 2), "INT16")], {}, 2),
        ((np.array([[30, 2]], np.int16), np.array([[30, 2]], np.int16)),),
        MICRO,
        REFERENCE,
    ),
    "tflm-paddings-int64": Example(
        one_op("PAD", [T((1, 2), "INT8", 1.0), T(data=np.array([[0, 0], [1, 1]]))], [T((1, 4), "INT8", 1.0)], {}, 2),
        ((i8([1, 2]),),),
        MICRO,
        REFERENCE,
    ),
    "tflm-svdf-without-bias": Example(
        one_op(
            "SVDF",
            [
                T((1, 2), "FLOAT32"),
                T(data=f32([1, 1])),
                T(data=f32([1, 1])),
                None,
                T((1, 2), "FLOAT32", variable=True),
            ],
            [T((1, 1), "FLOAT32")],
            {"rank": 1},
        ),
        ((f32([1, 1]),),),
        MICRO,
        REFERENCE,
    ),
}
