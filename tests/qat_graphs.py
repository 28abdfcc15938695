"""Random TensorFlow functions with fake-quantization nodes, as quantization-aware training makes them, and odder ones.

Imported where TensorFlow is: in the child process qat_oracle_child.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

SIDE, DEPTH = 4, 4

Value = Any


class RandomFunction:
    """Draws a function of one input of shape (1, 4, 4, 4): operators on what is there, most of them fake-quantized.

    Everything is drawn first, so that tracing twice gives one function.
    """

    def __init__(self, rng: np.random.Generator, length: int) -> None:
        self.rng = rng
        self.length = length

    def __call__(self, x: Value) -> list[Value]:
        rng = self.rng
        values = [self.quantized(x, 0.95)]
        steps = list(STEPS)
        for _ in range(self.length):
            step = steps[rng.integers(len(steps))]
            values.append(self.quantized(step(self, values), 0.8))
        outputs = [values[-1]]
        if rng.random() < 0.3:
            outputs.append(values[rng.integers(len(values))])
        return [tf.identity(output) for output in outputs]

    def pick(self, values: list[Value]) -> Value:
        return values[-1] if self.rng.random() < 0.6 else values[self.rng.integers(len(values))]

    def limits(self) -> tuple[float, float]:
        """Any range, sometimes one without zero, one that ends at it, or a tiny one."""
        rng = self.rng
        low, high = sorted((float(rng.normal(-2, 2)), float(rng.normal(2, 2))))
        kind = rng.random()
        if kind < 0.2:
            low = 0.0
        elif kind < 0.25:
            low, high = 0.25, 0.25 + abs(high) + 0.1
        elif kind < 0.3:
            low, high = -0.5 - abs(low), -0.25
        elif kind < 0.33:
            low, high = -2e-7, 3e-7
        return low, max(high, low + 1e-7)

    def quantized(self, x: Value, probability: float) -> Value:
        if self.rng.random() >= probability:
            return x
        low, high = self.limits()
        narrow = bool(self.rng.random() < 0.2)
        if self.rng.random() < 0.5:
            return tf.quantization.fake_quant_with_min_max_args(x, low, high, narrow_range=narrow)
        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, narrow_range=narrow)

    def weights(self, *shape: int, per_channel: bool = True) -> Value:
        rng = self.rng
        values = rng.normal(0, 1, shape).astype(np.float32)
        kind = rng.random()
        if kind < 0.15:
            return tf.constant(values)
        largest = np.abs(values).max(axis=tuple(range(len(shape) - 1)))
        if per_channel and kind < 0.5:
            ends = largest * rng.uniform(0.5, 1.2, largest.shape).astype(np.float32)
            low, high = (-ends, ends) if kind < 0.4 else (-ends, ends * np.float32(0.7))
            narrow = bool(rng.random() < 0.7)
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(values, low, high, narrow_range=narrow)
        end = float(np.float32(largest.max() * rng.uniform(0.5, 1.2)))
        start = -end if rng.random() < 0.7 else -end * float(rng.uniform(0.3, 0.9))
        narrow = bool(rng.random() < 0.6)
        return tf.quantization.fake_quant_with_min_max_vars(values, start, end, narrow_range=narrow)

    def bias(self, y: Value) -> Value:
        kind = self.rng.random()
        if kind < 0.2:
            return y
        return y + self.rng.normal(0, 1, y.shape[-1]).astype(np.float32)

    def activated(self, y: Value) -> Value:
        kind = self.rng.random()
        if kind < 0.3:
            return tf.nn.relu(y)
        return tf.nn.relu6(y) if kind < 0.5 else y


def image(f: RandomFunction, x: Value) -> Value:
    """The value as an image of the usual shape."""
    return x if tuple(x.shape) == (1, SIDE, SIDE, DEPTH) else dense_image(f, x)


def dense_image(f: RandomFunction, x: Value) -> Value:
    flat = tf.reshape(x, (1, -1))
    y = tf.matmul(flat, f.weights(flat.shape[1], SIDE * SIDE * DEPTH, per_channel=False))
    return tf.reshape(f.quantized(y, 0.7), (1, SIDE, SIDE, DEPTH))


def conv(f: RandomFunction, values: list[Value]) -> Value:
    x = image(f, f.pick(values))
    kernel = int(f.rng.choice([1, 3]))
    return f.activated(f.bias(tf.nn.conv2d(x, f.weights(kernel, kernel, DEPTH, DEPTH), 1, "SAME")))


def depthwise(f: RandomFunction, values: list[Value]) -> Value:
    x = image(f, f.pick(values))
    weights = f.weights(3, 3, DEPTH)
    kernel = tf.reshape(weights, (3, 3, DEPTH, 1))
    return f.activated(f.bias(tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME")))


def dense(f: RandomFunction, values: list[Value]) -> Value:
    x = f.pick(values)
    rows = tf.reshape(x, (1, -1) if f.rng.random() < 0.5 else (-1, x.shape[-1]))
    return f.activated(f.bias(tf.matmul(rows, f.weights(rows.shape[1], 6, per_channel=False))))


def binary(f: RandomFunction, values: list[Value]) -> Value:
    a, b = image(f, f.pick(values)), image(f, values[f.rng.integers(len(values))])
    kind = f.rng.random()
    return f.activated(a + b if kind < 0.6 else a * b if kind < 0.8 else a - b)


def with_constant(f: RandomFunction, values: list[Value]) -> Value:
    """Always fake-quantized: the converter joins the constants of neighbours that stay float."""
    x = f.pick(values)
    constant = tf.constant(f.rng.normal(0, 1, x.shape[-1]).astype(np.float32))
    constant = f.quantized(constant, 0.3)
    return f.quantized(x * constant if f.rng.random() < 0.5 else x + constant, 1)


def joined(f: RandomFunction, values: list[Value]) -> Value:
    a, b = image(f, f.pick(values)), image(f, values[f.rng.integers(len(values))])
    kind = f.rng.random()
    if kind < 0.3:
        return tf.maximum(a, b)
    return tf.concat([a, b], -1 if kind < 0.8 else 1)


def unary(function: Callable[[Value], Value]) -> Callable[[RandomFunction, list[Value]], Value]:
    return lambda f, values: function(f.pick(values))


def pooled(function: Callable[..., Value]) -> Callable[[RandomFunction, list[Value]], Value]:
    return lambda f, values: function(image(f, f.pick(values)), 2, 1, "SAME")


STEPS: tuple[Callable[[RandomFunction, list[Value]], Value], ...] = (
    conv,
    conv,
    conv,
    depthwise,
    depthwise,
    dense,
    dense,
    binary,
    binary,
    joined,
    with_constant,
    pooled(tf.nn.max_pool2d),
    pooled(tf.nn.avg_pool2d),
    unary(lambda x: tf.reshape(x, (1, -1))),
    unary(lambda x: tf.reshape(x, (-1, 2))),
    unary(tf.nn.relu),
    unary(tf.nn.relu6),
    unary(tf.nn.softmax),
    unary(tf.tanh),
    unary(tf.sigmoid),
    unary(tf.sin),
    unary(lambda x: tf.pad(x, [[0, 0]] * (len(x.shape) - 1) + [[1, 1]])),
    unary(lambda x: tf.reduce_mean(x, -1, keepdims=True)),
    unary(lambda x: tf.transpose(x, list(range(len(x.shape)))[::-1])),
    unary(lambda x: x[..., :2]),
)


def concrete(function: Callable[[Value], Any]) -> Any:
    """The function of one input of shape (1, 4, 4, 4) as a ConcreteFunction."""
    return tf.function(
        function, input_signature=[tf.TensorSpec((1, SIDE, SIDE, DEPTH), tf.float32)]
    ).get_concrete_function()


def random_function(seed: int, length: int) -> Any:
    """The ConcreteFunction of one seed."""
    return concrete(RandomFunction(np.random.default_rng(seed), length))


# single questions

WEIGHTS = np.random.default_rng(1).normal(0, 1, (3, 3, DEPTH, DEPTH)).astype(np.float32)
BIAS = np.random.default_rng(2).normal(0, 1, DEPTH).astype(np.float32)


def _fq(x: Value, low: float, high: float, **options: Any) -> Value:
    return tf.quantization.fake_quant_with_min_max_args(x, low, high, **options)


def _conv(x: Value, **options: Any) -> Value:
    return tf.nn.conv2d(x, _fq(WEIGHTS, -3.0, 3.0, **options), 1, "SAME") + BIAS


def _bits(bits: int) -> Callable[[Value], Value]:
    return lambda x: _fq(_conv(_fq(x, -1.0, 1.0, num_bits=bits), num_bits=bits), -4.0, 4.0, num_bits=bits)


def _pair_of_a_pair(x: Value) -> Value:
    return _fq(_fq(_conv(_fq(x, -1.0, 1.0)), -4.0, 4.0), -2.0, 2.0)


def _two_pairs(x: Value) -> list[Value]:
    y = _conv(_fq(x, -1.0, 1.0))
    return [tf.abs(_fq(y, -4.0, 4.0)), tf.abs(_fq(y, -2.0, 2.0))]


def _raw_output(x: Value) -> list[Value]:
    y = _conv(_fq(x, -1.0, 1.0))
    return [_fq(y, -4.0, 4.0), y]


def _raw_weights(x: Value) -> Value:
    dense = tf.matmul(tf.reshape(_fq(x, -1.0, 1.0), (16, DEPTH)), WEIGHTS[0, 0]) + BIAS
    return _fq(tf.nn.conv2d(tf.reshape(_fq(dense, -2.0, 2.0), (1, 4, 4, DEPTH)), WEIGHTS, 1, "SAME") + BIAS, -4.0, 4.0)


def _transposed(x: Value) -> Value:
    weights = _fq(WEIGHTS, -3.0, 3.0, narrow_range=True)
    return _fq(tf.nn.conv2d_transpose(_fq(x, -1.0, 1.0), weights, (1, 8, 8, DEPTH), 2, "SAME") + BIAS, -4.0, 4.0)


def _dead_channel(x: Value) -> Value:
    weights = WEIGHTS * np.float32([1, 1e-9, 1, 1])
    return _fq(tf.nn.conv2d(_fq(x, -1.0, 1.0), weights, 1, "SAME") + BIAS, -4.0, 4.0)


def _multiplied(x: Value) -> Value:
    """The converter multiplies the weights and their scales."""
    largest = np.abs(WEIGHTS).max(axis=(0, 1, 2))
    weights = tf.quantization.fake_quant_with_min_max_vars_per_channel(WEIGHTS, -largest, largest, narrow_range=True)
    y = tf.nn.conv2d(_fq(x, -1.0, 1.0), weights, 1, "SAME") * np.float32([0.3, -0.7, 1.1, 2.9]) + BIAS
    return _fq(tf.nn.relu(y), 0.0, 4.0)


def _joined(x: Value) -> Value:
    """The converter puts a pair of its own behind the CONCATENATION, of the hull of 0.25 to 2 and -1 to 1."""
    x = _fq(x, -1.0, 1.0)
    return tf.nn.max_pool2d(tf.concat([x, _fq(_conv(x), 0.25, 2.0)], -1), 2, 2, "SAME")


QUESTIONS: dict[str, Callable[[Value], Any]] = {
    **{f"{bits} bits": _bits(bits) for bits in (2, 4, 5, 7, 8, 9, 16)},
    "a pair behind a pair": _pair_of_a_pair,
    "two pairs at one tensor": _two_pairs,
    "an output before its pair": _raw_output,
    "weights without a pair": _raw_weights,
    "transposed weights": _transposed,
    "a bias that overflows": _dead_channel,
    "joined": _joined,
    "a float operator before a pair": lambda x: _fq(tf.tanh(x), -2.0, 2.0),
    "multiplied weights": _multiplied,
}
