"""Where a sliding window lies: output sizes and paddings of convolutions and pools.

Source: tflite/kernels/padding.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from refquant.kernels.kernel import Node
from refquant.model.graph import Array

PADDINGS = ("SAME", "VALID")
AXIS_NAMES: Mapping[str, str] = {"d": "depth", "h": "height", "w": "width"}


@dataclass(frozen=True, slots=True)
class Axis:
    """One spatial axis of a sliding window. Tap k of output i reads input i * stride - before + k * dilation.

    `before` and `after` count the pixels read outside the image; they hold the real value 0.
    """

    input: int
    output: int
    filter: int
    stride: int
    dilation: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window over height and width."""

    height: Axis
    width: Axis


def window_axis(padding: str, size: int, filter_size: int, stride: int, dilation: int = 1) -> Axis:
    """The axis for padding "SAME" (output = ceil(size / stride)) or "VALID" (only windows inside the image).

    The padding is max((output - 1) * stride + extent - size, 0) with extent = (filter_size - 1) * dilation + 1; the
    odd pixel lies after the image. Errors: ValueError for a window that does not fit the image.
    Source: tflite/kernels/padding.h, ComputeOutSizeChecked, ComputePaddingWithOffsetChecked.
    """
    extent = (filter_size - 1) * dilation + 1
    numerator = size + stride - (1 if padding == "SAME" else extent)
    output = numerator // stride if numerator >= 0 else -(-numerator // stride)  # C++ division truncates
    if output < 0:
        raise ValueError(f"a window of {extent} pixels does not fit an image of {size}")
    total = max((output - 1) * stride + extent - size, 0)
    return Axis(size, output, filter_size, stride, dilation, total // 2, total - total // 2)


def decode_window(node: Node, image: tuple[int, int], filter_size: tuple[int, int]) -> Window:
    """The window over an image of (height, width), from the node's options padding, stride_* and dilation_*_factor.

    Errors: InvalidModel for an unknown padding, a stride or dilation below 1, or a window that does not fit.
    """
    height, width = decode_axes(node, "hw", image, filter_size)
    return Window(height, width)


def decode_axes(node: Node, letters: str, image: Sequence[int], filter_size: Sequence[int]) -> list[Axis]:
    """The axes over an image of these sizes; `letters` name the options: "d" is depth, "h" height, "w" width.

    Errors: InvalidModel for an unknown padding, a stride or dilation below 1, or a window that does not fit.
    """
    padding = node.options.get("padding", "SAME")
    if padding not in PADDINGS:
        raise node.invalid(f"unknown padding {padding!r}; there are: {', '.join(PADDINGS)}")
    axes = []
    for letter, size, taps in zip(letters, image, filter_size, strict=True):
        stride = positive_option(node, f"stride_{letter}", 0)
        dilation = positive_option(node, f"dilation_{letter}_factor", 1)
        try:
            axes.append(window_axis(padding, size, taps, stride, dilation))
        except ValueError as error:
            raise node.invalid(f"{error} ({AXIS_NAMES[letter]}, padding VALID)") from None
    return axes


def positive_option(node: Node, name: str, default: int) -> int:
    """The integer option; InvalidModel if it is below 1."""
    value = int(node.options.get(name, default))
    if value < 1:
        raise node.invalid(f"{name} is {value}; it must be at least 1")
    return value


def pad(x: Array, window: Window, value: Any, dtype: Any) -> Array:
    """x (N, H, W, C) as `dtype` with a frame of `value` as wide as the window reads outside the image."""
    height, width = window.height, window.width
    if not (height.before or height.after or width.before or width.after):
        return x.astype(dtype, copy=False)
    shape = (len(x), height.before + x.shape[1] + height.after, width.before + x.shape[2] + width.after, x.shape[3])
    padded = np.full(shape, value, dtype)
    padded[:, height.before : height.before + x.shape[1], width.before : width.before + x.shape[2]] = x
    return padded


def taps(padded: Array, window: Window) -> Iterator[Array]:
    """The inputs that each tap reads, a view (N, OH, OW, C) of the padded image a tap, in the order (kh, kw)."""
    for row in _starts(window.height):
        for column in _starts(window.width):
            yield padded[:, row, column]


def _starts(axis: Axis) -> Iterator[slice]:
    span = (axis.output - 1) * axis.stride + 1 if axis.output else 0
    for tap in range(axis.filter):
        yield slice(tap * axis.dilation, tap * axis.dilation + span, axis.stride)


def patches(padded: Array, window: Window) -> Array:
    """A view (N, OH, OW, kh, kw, C) of the padded image: all that each output reads."""
    n, _, _, c = padded.shape
    s_n, s_h, s_w, s_c = padded.strides
    h, w = window.height, window.width
    return np.lib.stride_tricks.as_strided(
        padded,
        (n, h.output, w.output, h.filter, w.filter, c),
        (s_n, s_h * h.stride, s_w * w.stride, s_h * h.dilation, s_w * w.dilation, s_c),
        writeable=False,
    )


def tap_counts(window: Window) -> Array:
    """How many taps of each output lie inside the image, (OH, OW) int64."""
    return np.multiply.outer(_inside(window.height), _inside(window.width))


def _inside(axis: Axis) -> Array:
    first = np.arange(axis.output)[:, np.newaxis] * axis.stride - axis.before
    at = first + np.arange(axis.filter) * axis.dilation
    return np.asarray(((at >= 0) & (at < axis.input)).sum(axis=1))
