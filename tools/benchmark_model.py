"""An int8 network in the manner of MobileNetV2 with random weights: inverted residual blocks on a 96x96x3 input."""

from __future__ import annotations

from typing import Any

import numpy as np

from refquant.model import OPTIONS_OF, Graph, Model, Operator, Quantization, Tensor, default_options


def affine(scales: Any, zero_point: int = 0, axis: int = 0) -> Quantization:
    """Scales, rounded to float32, with one zero point."""
    stored = np.atleast_1d(np.asarray(scales, np.float32))
    return Quantization(tuple(map(float, stored)), (zero_point,) * len(stored), axis)


IMAGE = affine(1 / 127.5, -1)
RELU6 = affine(6 / 255, -128)
LINEAR = affine(0.05)
SOFTMAX = affine(1 / 256, -128)
WIDTH = 0.5
# expansion, output channels at width 1, repeats, stride of the first: the table of the MobileNetV2 paper
BLOCKS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Builder:
    """Grows a graph operator by operator; every method returns the index of the new tensor."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.buffers: list[bytes] = [b""]

    def tensor(self, shape: tuple[int, ...], quantization: Quantization, name: str) -> int:
        """An activation."""
        self.tensors.append(Tensor(name, "INT8", shape, 0, quantization))
        return len(self.tensors) - 1

    def constant(self, data: np.ndarray, kind: str, quantization: Quantization | None, name: str) -> int:
        """A constant of type `kind`."""
        self.buffers.append(data.astype(data.dtype.newbyteorder("<")).tobytes())
        self.tensors.append(Tensor(name, kind, data.shape, len(self.buffers) - 1, quantization))
        return len(self.tensors) - 1

    def operator(self, name: str, inputs: tuple[int, ...], output: int, version: int, **options: Any) -> int:
        """An operator; options that are not given hold the schema's defaults."""
        table = OPTIONS_OF[name]
        full = {**default_options(table), **options}
        self.operators.append(Operator(name, inputs, (output,), version, options_type=table, options=full))
        return output

    def weights(self, x: int, shape: tuple[int, ...], axis: int, taps: int, out: Quantization) -> tuple[int, int]:
        """(filter, bias): random, per channel, scaled so that outputs spread over their range."""
        (scale,), q = self.tensors[x].quantization.scale, self.rng.integers(-127, 128, shape, np.int8)  # type: ignore[union-attr]
        channels = shape[axis]
        spread = self.rng.uniform(0.7, 1.3, channels) / (73 * np.sqrt(taps))  # 73: deviation of a random int8 weight
        scales = np.float32(spread * out.scale[0] / scale)
        bias = np.round(self.rng.normal(0, 0.5, channels) / (scale * scales)).astype(np.int32)
        number = len(self.tensors)
        return (
            self.constant(q, "INT8", affine(scales, axis=axis), f"filter{number}"),
            self.constant(bias, "INT32", affine(np.float32(scale) * scales), f"bias{number}"),
        )

    def conv(self, x: int, channels: int, size: int, stride: int, out: Quantization) -> int:
        """CONV_2D, padding SAME."""
        _, height, width, depth = self.tensors[x].shape
        parameters = self.weights(x, (channels, size, size, depth), 0, size * size * depth, out)
        y = self.tensor((1, -(-height // stride), -(-width // stride), channels), out, f"conv{len(self.operators)}")
        activation = "RELU6" if out is RELU6 else "NONE"
        return self.operator(
            "CONV_2D", (x, *parameters), y, 3,
            padding="SAME", stride_w=stride, stride_h=stride, fused_activation_function=activation,
        )  # fmt: skip

    def depthwise(self, x: int, stride: int) -> int:
        """DEPTHWISE_CONV_2D 3x3, padding SAME, RELU6."""
        _, height, width, depth = self.tensors[x].shape
        parameters = self.weights(x, (1, 3, 3, depth), 3, 9, RELU6)
        y = self.tensor((1, -(-height // stride), -(-width // stride), depth), RELU6, f"depthwise{len(self.operators)}")
        return self.operator(
            "DEPTHWISE_CONV_2D", (x, *parameters), y, 3,
            padding="SAME", stride_w=stride, stride_h=stride, depth_multiplier=1, fused_activation_function="RELU6",
        )  # fmt: skip

    def block(self, x: int, expansion: int, channels: int, stride: int) -> int:
        """An inverted residual block: expand 1x1, depthwise 3x3, project 1x1, and the input added where it fits."""
        depth = self.tensors[x].shape[3]
        y = self.conv(x, depth * expansion, 1, 1, RELU6) if expansion > 1 else x
        y = self.conv(self.depthwise(y, stride), channels, 1, 1, LINEAR)
        if stride > 1 or depth != channels:
            return y
        total = self.tensor(self.tensors[y].shape, LINEAR, f"add{len(self.operators)}")
        return self.operator("ADD", (x, y), total, 2, fused_activation_function="NONE")


def mobilenet_v2_like(seed: int = 0, side: int = 96, classes: int = 10) -> Model:
    """The whole network; input (1, side, side, 3) int8, output (1, classes) int8."""
    b = Builder(seed)
    image = b.tensor((1, side, side, 3), IMAGE, "image")
    x = b.conv(image, 16, 3, 2, RELU6)
    for expansion, channels, repeats, stride in BLOCKS:
        for repeat in range(repeats):
            x = b.block(x, expansion, max(8, int(channels * WIDTH) // 8 * 8), stride if repeat == 0 else 1)
    x = b.conv(x, 320, 1, 1, RELU6)
    axes = b.constant(np.array([1, 2], np.int32), "INT32", None, "axes")
    mean = b.operator("MEAN", (x, axes), b.tensor((1, 320), RELU6, "mean"), 2, keep_dims=False)
    parameters = b.weights(mean, (classes, 320), 0, 320, LINEAR)
    logits = b.operator("FULLY_CONNECTED", (mean, *parameters), b.tensor((1, classes), LINEAR, "logits"), 4)
    output = b.operator("SOFTMAX", (logits,), b.tensor((1, classes), SOFTMAX, "output"), 2, beta=1.0)
    graph = Graph(tuple(b.tensors), tuple(b.operators), (image,), (output,), "main")
    return Model((graph,), tuple(b.buffers), description="MobileNetV2-like, random weights")
