"""Every op in rational numbers: what the runtime `exact` must give, one output element at a time.

It shares no code with refquant and does not import NumPy. Codes become fractions by the scales as stored, e^x and the
like are taken to 50 digits, and each result is rounded once, half-way values to even: a fraction by Python's round.
`run(model, inputs)` runs a model of one operator of OPERATORS.
"""

from __future__ import annotations

import decimal
import itertools
import math
import struct
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from typing import Any

from slow import CODE, RANGE, Tensor, broadcast, indices, pads, windows

decimal.getcontext().prec = 50

BOUNDS = {
    **dict.fromkeys(("NONE", "TANH", "SIGN_BIT"), (None, None)),
    "RELU": (0, None),
    "RELU_N1_TO_1": (-1, 1),
    "RELU6": (0, 6),
}
BIAS = {"CONV_2D": (2, 0, 1), "DEPTHWISE_CONV_2D": (2, 0, 1), "FULLY_CONNECTED": (2, 0, 1), "TRANSPOSE_CONV": (3, 2, 1)}

Reals = Sequence[Tensor | None]


# ---- functions, to 50 digits ----


def exact(x: Fraction) -> decimal.Decimal:
    return decimal.Decimal(x.numerator) / x.denominator


@cache
def exp(x: Fraction) -> Fraction:
    return Fraction(exact(x).exp()) if x < 1000 else Fraction(2**1400)


@cache
def log(x: Fraction) -> Fraction:
    return Fraction(exact(x).ln()) if x > 0 else Fraction(-(10**9))


@cache
def root(x: Fraction) -> Fraction:
    return Fraction(exact(x).sqrt())


def logistic(x: Fraction) -> Fraction:
    return 1 / (1 + exp(-x)) if x > -1000 else Fraction(0)


def tanh(x: Fraction) -> Fraction:
    return 1 - 2 / (1 + exp(2 * x)) if abs(x) < 1000 else Fraction(1 if x > 0 else -1)


@cache
def erf(x: Fraction) -> Fraction:
    """2 / sqrt(pi) * (x - x^3 / 3 + x^5 / (2! 5) - ...), which is 1 up to e^(-x^2)."""
    if abs(x) > 8:
        return Fraction(1 if x > 0 else -1)
    with decimal.localcontext() as context:
        context.prec = 120
        z, term, total, n = exact(x), exact(x), exact(x), 0
        while abs(term) > decimal.Decimal("1e-80"):
            n += 1
            term *= -z * z / n
            total += term / (2 * n + 1)
    return Fraction(total) * 2 / root(Fraction("3.14159265358979323846264338327950288419716939937510582"))


def gelu(x: Fraction, approximate: bool) -> Fraction:
    if approximate:
        inner = root(2 / Fraction("3.14159265358979323846264338327950288419716939937510582"))
        return x / 2 * (1 + tanh(inner * (x + Fraction(0.044715) * x**3)))
    return x / 2 * (1 + erf(x / root(Fraction(2))))


def clamped(x: Fraction, low: int | None, high: int | None) -> Fraction:
    x = x if low is None else max(x, Fraction(low))
    return x if high is None else min(x, Fraction(high))


# ---- ops ----


def conv_2d(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    x, filter = operands[:2]
    assert x is not None
    assert filter is not None
    depthwise = filter.shape[0] == 1 and options.get("depth_multiplier") is not None
    kernel, depth = filter.shape[1:3], filter.shape[3]
    stride = options["stride_h"], options["stride_w"]
    dilation = options.get("dilation_h_factor", 1), options.get("dilation_w_factor", 1)
    top, left = pads(options, x, output, kernel, stride, dilation)
    channels = output.shape[3]
    result = []
    for n, row, column, channel in indices(output.shape):
        total = Fraction(0)
        for i, j in indices(kernel):
            y, z = row * stride[0] - top + i * dilation[0], column * stride[1] - left + j * dilation[1]
            if not (0 <= y < x.shape[1] and 0 <= z < x.shape[2]):
                continue
            if depthwise:
                total += x.at(n, y, z, channel * x.shape[3] // channels) * filter.at(0, i, j, channel)
            else:
                first = channel // (channels // (x.shape[3] // depth)) * depth
                total += sum(x.at(n, y, z, first + c) * filter.at(channel, i, j, c) for c in range(depth))
        result.append(total)
    return result


def transpose_conv(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    _, filter, x = operands[:3]
    assert x is not None
    assert filter is not None
    channels, *kernel, depth = filter.shape
    stride = options["stride_h"], options["stride_w"]
    top, left = pads(options, output, x, (kernel[0], kernel[1]), stride)
    sums = dict.fromkeys(indices(output.shape), Fraction(0))
    for n, y, z in indices(x.shape[:3]):
        for i, j, channel in indices((*kernel, channels)):
            place = n, y * stride[0] - top + i, z * stride[1] - left + j, channel
            if place in sums:
                sums[place] += sum(x.at(n, y, z, c) * filter.at(channel, i, j, c) for c in range(depth))
    return list(sums.values())


def fully_connected(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    x, filter = operands[:2]
    assert x is not None
    assert filter is not None
    units, depth = filter.shape
    rows = [x.data[start : start + depth] for start in range(0, len(x.data) // depth * depth, depth)]
    return [
        sum((a * filter.at(unit, k) for k, a in enumerate(row)), Fraction(0)) for row in rows for unit in range(units)
    ]


def batch_matmul(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    a, b = operands
    assert a is not None
    assert b is not None

    def at(t: Tensor, lead: tuple[int, ...], row: int, column: int, transposed: Any) -> Fraction:
        own = lead[len(lead) - len(t.shape) + 2 :]
        place = [0 if size == 1 else index for index, size in zip(own, t.shape, strict=False)]
        return t.at(*place, *((column, row) if transposed else (row, column)))

    depth = a.shape[-2 if options.get("adj_x") else -1]
    return [
        sum(
            (at(a, lead, i, k, options.get("adj_x")) * at(b, lead, k, j, options.get("adj_y")) for k in range(depth)),
            Fraction(0),
        )
        for *front, i, j in indices(output.shape)
        for lead in [tuple(front)]
    ]


def average_pool_2d(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    assert operands[0] is not None
    return [sum(taps) / Fraction(len(taps)) for taps in windows(options, operands[0], output)]


def runs(operands: Reals) -> list[list[Fraction]]:
    """What is reduced to each output element, in the order of the output."""
    x, axes = operands
    assert x is not None
    assert axes is not None
    reduced = {int(axis) % len(x.shape) for axis in axes.data} if x.shape else set()
    kept: dict[tuple[int, ...], list[Fraction]] = {}
    for index, value in zip(indices(x.shape), x.data, strict=True):
        kept.setdefault(tuple(0 if a in reduced else i for a, i in enumerate(index)), []).append(value)
    return list(kept.values())


def rows(operands: Reals) -> list[list[Fraction]]:
    x = operands[0]
    assert x is not None
    depth = x.shape[-1]
    return [x.data[start : start + depth] for start in range(0, len(x.data), depth)]


def softmax(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    result = []
    for row in rows(operands):
        exps = [exp((x - max(row)) * Fraction(options["beta"])) for x in row]
        result += [e / sum(exps) for e in exps]
    return result


def log_softmax(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    result = []
    for row in rows(operands):
        logarithm = log(sum((exp(x - max(row)) for x in row), Fraction(0)))
        result += [x - max(row) - logarithm for x in row]
    return result


def l2_normalization(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    norms = [max(root(sum((x * x for x in row), Fraction(0))), Fraction(1e-6)) for row in rows(operands)]
    return [x / norm for row, norm in zip(rows(operands), norms, strict=True) for x in row]


def resize_bilinear(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    x = operands[0]
    assert x is not None
    _, height, width, _ = output.shape

    def along(place: int, before: int, after: int) -> tuple[int, int, Fraction]:
        corners = 1 if options["align_corners"] and after > 1 else 0
        half = Fraction(1, 2) if options["half_pixel_centers"] else 0
        position = (place + half) * Fraction(before - corners, after - corners) - half
        position = min(max(position, Fraction(0)), Fraction(before - 1))
        return math.floor(position), math.ceil(position), position - math.floor(position)

    result = []
    for n, y, z, c in indices(output.shape):
        top, bottom, down = along(y, x.shape[1], height)
        left, right, across = along(z, x.shape[2], width)
        upper = x.at(n, top, left, c) * (1 - across) + x.at(n, top, right, c) * across
        lower = x.at(n, bottom, left, c) * (1 - across) + x.at(n, bottom, right, c) * across
        result.append(upper * (1 - down) + lower * down)
    return result


def concatenation(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
    axis = options["axis"] % len(output.shape)
    result = []
    for index in indices(output.shape):
        place = list(index)
        for operand in operands:
            assert operand is not None
            if place[axis] < operand.shape[axis]:
                result.append(operand.at(*place))
                break
            place[axis] -= operand.shape[axis]
    return result


def of_one(function: Callable[[Any, Fraction], Fraction]) -> Callable[[Any, Reals, Tensor], list[Fraction]]:
    def op(options: Any, operands: Reals, output: Tensor) -> list[Fraction]:
        assert operands[0] is not None
        return [function(options, x) for x in operands[0].data]

    return op


def of_two(function: Callable[[Fraction, Fraction], Any]) -> Callable[[Any, Reals, Tensor], list[Any]]:
    def op(options: Any, operands: Reals, output: Tensor) -> list[Any]:
        a, b = operands
        assert a is not None
        assert b is not None
        return [function(x, y) for x, y in broadcast(a, b, output.shape)]

    return op


def of_runs(function: Callable[[list[Fraction]], Fraction]) -> Callable[[Any, Reals, Tensor], list[Fraction]]:
    return lambda options, operands, output: [function(run) for run in runs(operands)]


OPERATORS: dict[str, Callable[[Any, Reals, Tensor], list[Any]]] = {
    "CONV_2D": conv_2d,
    "DEPTHWISE_CONV_2D": lambda options, *rest: conv_2d({**options, "depth_multiplier": 0}, *rest),
    "TRANSPOSE_CONV": transpose_conv,
    "FULLY_CONNECTED": fully_connected,
    "BATCH_MATMUL": batch_matmul,
    "AVERAGE_POOL_2D": average_pool_2d,
    "MEAN": of_runs(lambda run: sum(run) / Fraction(len(run))),
    "SUM": of_runs(lambda run: sum(run, Fraction(0))),
    "REDUCE_PROD": of_runs(lambda run: Fraction(math.prod(run))),
    "SOFTMAX": softmax,
    "LOG_SOFTMAX": log_softmax,
    "L2_NORMALIZATION": l2_normalization,
    "RESIZE_BILINEAR": resize_bilinear,
    "CONCATENATION": concatenation,
    "ADD": of_two(lambda a, b: a + b),
    "SUB": of_two(lambda a, b: a - b),
    "MUL": of_two(lambda a, b: a * b),
    "DIV": of_two(lambda a, b: a / b if b else a * 10**60),
    "SQUARED_DIFFERENCE": of_two(lambda a, b: (a - b) ** 2),
    "MAXIMUM": of_two(max),
    "MINIMUM": of_two(min),
    "EQUAL": of_two(lambda a, b: a == b),
    "NOT_EQUAL": of_two(lambda a, b: a != b),
    "LESS": of_two(lambda a, b: a < b),
    "LESS_EQUAL": of_two(lambda a, b: a <= b),
    "GREATER": of_two(lambda a, b: a > b),
    "GREATER_EQUAL": of_two(lambda a, b: a >= b),
    "PRELU": of_two(lambda x, alpha: x if x >= 0 else x * alpha),
    "LEAKY_RELU": of_one(lambda options, x: x if x >= 0 else x * f32(Fraction(options["alpha"]))),
    "RELU": of_one(lambda options, x: max(x, Fraction(0))),
    "RELU6": of_one(lambda options, x: clamped(x, 0, 6)),
    "RELU_N1_TO_1": of_one(lambda options, x: clamped(x, -1, 1)),
    "RELU_0_TO_1": of_one(lambda options, x: clamped(x, 0, 1)),
    "HARD_SWISH": of_one(lambda options, x: x * clamped(x + 3, 0, 6) / 6),
    "ABS": of_one(lambda options, x: abs(x)),
    "SQRT": of_one(lambda options, x: root(x)),
    "RSQRT": of_one(lambda options, x: 1 / root(x) if x else Fraction(10**30)),
    "EXP": of_one(lambda options, x: exp(x)),
    "LOG": of_one(lambda options, x: log(x)),
    "ELU": of_one(lambda options, x: x if x >= 0 else exp(x) - 1),
    "LOGISTIC": of_one(lambda options, x: logistic(x)),
    "TANH": of_one(lambda options, x: tanh(x)),
    "GELU": of_one(lambda options, x: gelu(x, bool(options.get("approximate", False)))),
    "QUANTIZE": of_one(lambda options, x: x),
    "DEQUANTIZE": of_one(lambda options, x: x),
}


# ---- operators that remember ----


def lstm(model: Any, x: Sequence[Any], h: list[Fraction], c: list[Fraction]) -> tuple[list[Any], list[int], list[int]]:
    """(output, codes of the output state, of the cell) of a batch of 1, steps first or not; h, c: the states before."""
    graph, (operator,) = model.graph, model.graph.operators
    places, options = operator.inputs, operator.options
    tensors = [None if index < 0 else graph.tensors[index] for index in places]
    values = {slot: constant(model, t) for slot, t in enumerate(tensors) if t is not None and t.buffer}
    scale = {slot: Fraction(t.quantization.scale[0]) for slot, t in enumerate(tensors) if t is not None}
    reals = {slot: real_tensor(tensors[slot], data).data for slot, data in values.items() if slot not in range(12, 18)}
    normalized = len(places) == 24 and places[21] >= 0
    for gate in range(4):
        if 12 + gate in values:
            of_bias = scale[20 + gate] / 1024 if normalized else scale[0] * scale[1 + gate]
            reals[12 + gate] = [of_bias * b for b in values[12 + gate]]
    if 16 in values:
        hidden = Fraction(graph.tensors[operator.intermediates[4]].quantization.scale[0])
        reals[16] = real_tensor(tensors[16], values[16]).data
        reals[17] = [scale[16] * hidden * b for b in values[17]] if 17 in values else [Fraction(0)] * len(h)

    def times(slot: int, vector: list[Fraction]) -> list[Fraction]:
        rows = range(0, len(reals[slot]), len(vector))
        return [sum((reals[slot][row + k] * v for k, v in enumerate(vector)), Fraction(0)) for row in rows]

    def gate(number: int, function: Callable[[Fraction], Fraction]) -> list[Fraction]:
        total = [a + b for a, b in zip(times(1 + number, step), times(5 + number, h), strict=True)]
        peephole = {0: 9, 1: 10, 3: 11}.get(number, 99)
        if peephole in reals:
            total = [t + w * s for t, w, s in zip(total, reals[peephole], c, strict=True)]
        if normalized:
            mean = sum(total) / len(total)
            deviation = root(sum((t - mean) ** 2 for t in total) / len(total) + Fraction(1e-8))
            total = [w * (t - mean) / deviation for w, t in zip(reals[20 + number], total, strict=True)]
        return [function(short(t + b)) for t, b in zip(total, reals[12 + number], strict=True)]

    def clipped(vector: list[Fraction], limit: float) -> list[Fraction]:
        return [min(max(v, -Fraction(limit)), Fraction(limit)) for v in vector] if limit else vector

    outputs = []
    (size,) = tensors[0].shape[2:]
    inputs = real_tensor(tensors[0], x).data
    for start in range(0, len(inputs), size):
        step = inputs[start : start + size]
        forget, cell = gate(1, logistic), gate(2, tanh)
        taken = gate(0, logistic) if 1 in values else [1 - f for f in forget]
        c = clipped([f * s + t * g for f, s, t, g in zip(forget, c, taken, cell, strict=True)], options["cell_clip"])
        h = [o * tanh(short(s)) for o, s in zip(gate(3, logistic), c, strict=True)]
        if 16 in values:
            h = clipped([a + b for a, b in zip(times(16, h), reals[17], strict=True)], options["proj_clip"])
        h, c = [short(v) for v in h], [short(v) for v in c]
        outputs += h
    ends = (graph.tensors[operator.outputs[0]], outputs), (tensors[18], h), (tensors[19], c)
    output, new_h, new_c = ([rounded(t, (0,), v) for v in vector] for t, vector in ends)
    return output, new_h, new_c


def svdf(model: Any, x: Sequence[Any], state: list[Fraction]) -> tuple[list[Any], list[int]]:
    """(output, codes of the state) of a batch of 1; state: the reals before."""
    graph, (operator,) = model.graph, model.graph.operators
    tensors = [None if index < 0 else graph.tensors[index] for index in operator.inputs]
    feature, time = (real_tensor(tensors[slot], constant(model, tensors[slot])) for slot in (1, 2))
    (filters, memory), inputs, rank = time.shape, real_tensor(tensors[0], x).data, operator.options["rank"]
    of_bias = Fraction(tensors[2].quantization.scale[0]) * Fraction(tensors[4].quantization.scale[0])
    biases = constant(model, tensors[3]) if tensors[3] else [0] * (filters // rank)
    sums, after = [of_bias * b for b in biases], []
    for f in range(filters):
        newest = sum((w * v for w, v in zip(feature.data[f * len(inputs) :], inputs, strict=False)), Fraction(0))
        kept = [*state[f * memory + 1 : (f + 1) * memory], newest]
        sums[f // rank] += sum(a * b for a, b in zip(kept, time.data[f * memory :], strict=False))
        after += kept
    output = graph.tensors[operator.outputs[0]]
    low, high = BOUNDS[operator.options["fused_activation_function"]]
    codes = [rounded(output, (0,), clamped(total, low, high)) for total in sums]
    return codes, [rounded(tensors[4], (0,), v) for v in after]


def short(x: Fraction) -> Fraction:
    """x to 50 digits: what goes through steps would grow without end."""
    return Fraction(exact(x))


# ---- reading and writing ----


def constant(model: Any, t: Any) -> list[Any]:
    return [value for (value,) in struct.iter_unpack("<" + CODE[t.type], model.buffers[t.buffer])]


def f32(x: Fraction) -> Fraction:
    """x rounded once to float32; infinity and the sign of 0 are left out."""
    if not x:
        return x
    if abs(x) >= 2**128:
        return Fraction(2**128 if x > 0 else -(2**128))
    exponent = max(math.frexp(float(x))[1] - 24, -149)
    return Fraction(round(x / Fraction(2) ** exponent)) * Fraction(2) ** exponent


def real_tensor(t: Any, data: Sequence[Any]) -> Tensor:
    """The tensor's reals. A tensor without a scale holds them itself."""
    q = t.quantization
    if q is None or not q.scale:
        return Tensor(t.shape, "REAL", [Fraction(x) for x in data], (), ())
    channels = [index[q.quantized_dimension] if len(q.scale) > 1 else 0 for index in indices(t.shape)]
    zero_points = q.zero_point or (0,) * len(q.scale)
    reals = [Fraction(q.scale[c]) * (x - zero_points[c]) for c, x in zip(channels, data, strict=True)]
    return Tensor(t.shape, "REAL", reals, (), ())


def with_bias(model: Any, operator: Any, reals: list[Fraction], bias: Sequence[Any] | None) -> list[Fraction]:
    """A bias of integers is in steps of input scale * filter scale."""
    if bias is None:
        return reals
    _, x, filter = BIAS[operator.name]
    addends = [Fraction(b) for b in bias]
    if all(isinstance(b, int) for b in bias):
        scales = [model.graph.tensors[operator.inputs[slot]].quantization.scale for slot in (x, filter)]
        of_filter = scales[1] if len(scales[1]) > 1 else scales[1] * len(bias)
        addends = [b * Fraction(scales[0][0]) * Fraction(s) for b, s in zip(addends, of_filter, strict=True)]
    return [real + addend for real, addend in zip(reals, itertools.cycle(addends))]


def rounded(t: Any, index: tuple[int, ...], real: Fraction) -> Any:
    if t.type == "FLOAT32":
        result = f32(real)
        return float(result) if abs(result) < 2**128 else math.inf if result > 0 else -math.inf
    q, (low, high) = t.quantization, RANGE[t.type]
    channel = index[q.quantized_dimension] if len(q.scale) > 1 else 0
    zero_point = q.zero_point[channel] if q.zero_point else 0
    return min(max(round(real / Fraction(q.scale[channel])) + zero_point, low), high)


def run(model: Any, inputs: Sequence[Any], shape: tuple[int, ...]) -> list[Any]:
    """The flat output of that shape. inputs: arrays with ravel().tolist(), in the model's order."""
    graph, (operator,) = model.graph, model.graph.operators
    values = {index: array.ravel().tolist() for index, array in zip(graph.inputs, inputs, strict=True)}
    for index in operator.inputs:
        if index >= 0 and index not in values:
            values[index] = constant(model, graph.tensors[index])
    bias = BIAS.get(operator.name, (99,))[0]
    operands = [
        None if index < 0 or slot == bias else real_tensor(graph.tensors[index], values[index])
        for slot, index in enumerate(operator.inputs)
    ]
    output = graph.tensors[operator.outputs[0]]
    reals = OPERATORS[operator.name](operator.options, operands, Tensor(shape, "REAL", [], (), ()))
    if output.type == "BOOL":
        return reals
    given = operator.inputs[bias] if bias < len(operator.inputs) else -1
    reals = with_bias(model, operator, reals, values[given] if given >= 0 else None)
    low, high = BOUNDS[operator.options.get("fused_activation_function", "NONE")]
    return [rounded(output, at, clamped(real, low, high)) for at, real in zip(indices(shape), reals, strict=True)]
