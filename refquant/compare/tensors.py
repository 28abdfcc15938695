"""Small questions about tensors and constants of which two are compared."""

from __future__ import annotations

import numpy as np

from refquant.model.graph import Array, Graph, Model, Operator, Quantization, Tensor

QUANTIZED_TYPES = ("INT8", "UINT8", "INT16", "INT4")
FLOAT_TYPES = ("FLOAT32", "FLOAT16")
NONE = Quantization()


def has_scale(tensor: Tensor) -> bool:
    """Whether the tensor has quantization parameters; a range that calibration left is none."""
    return tensor.quantization is not None and bool(tensor.quantization.scale)


def parameters_of(tensor: Tensor) -> Quantization:
    """The tensor's parameters; the dimension of a tensor with one scale counts as 0, and ranges do not count."""
    if tensor.quantization is None or not has_scale(tensor):
        return NONE
    q = tensor.quantization
    return Quantization(q.scale, q.zero_point, q.quantized_dimension if len(q.scale) > 1 else 0)


def is_constant(model: Model, tensor: Tensor) -> bool:
    """Whether the file holds the tensor's data."""
    return bool(tensor.buffer) and bool(model.buffers[tensor.buffer])


def form_of(model: Model, graph: Graph, operator: Operator) -> str:
    """With what numbers an operator computes: "float", "float with int8 weights", "int8", "mixed"; "" with neither.

    The states of recurrent operators, which may be finer, do not count.
    """
    tensors = [graph.tensors[index] for index in (*operator.inputs, *operator.outputs) if index >= 0]
    numbers = [t for t in tensors if t.type in FLOAT_TYPES or (t.type in QUANTIZED_TYPES and has_scale(t))]
    types = {tensor.type for tensor in numbers if not is_constant(model, tensor) and not tensor.is_variable}
    if not types:
        return ""
    if types <= set(FLOAT_TYPES):
        weights = sorted({tensor.type.lower() for tensor in numbers if tensor.type in QUANTIZED_TYPES})
        return f"float with {' and '.join(weights)} weights" if weights else "float"
    return types.pop().lower() if len(types) == 1 else "mixed"


def scale_bits(scales: tuple[float, ...]) -> tuple[str, ...]:
    """The float32 bits of each scale, in hexadecimal."""
    with np.errstate(over="ignore"):
        return tuple(f"0x{int(bits):08x}" for bits in np.asarray(scales, np.float32).view(np.uint32))


def differing_elements(x: Array, y: Array) -> tuple[int, tuple[int, ...] | None, float | None]:
    """(how many elements differ in any bit, the index of the first, the largest step) of two like arrays."""
    if x.dtype.kind in "fc":
        words = np.dtype(f"u{x.dtype.itemsize}" if x.dtype.kind == "f" else f"V{x.dtype.itemsize}")
        bits = np.asarray(x).view(words) != np.asarray(y).view(words)
    else:
        bits = x != y
    if not bits.any():
        return 0, None, 0
    first = tuple(int(i) for i in np.unravel_index(int(bits.argmax()), bits.shape))
    if x.dtype.kind == "c":
        return int(bits.sum()), first, None
    with np.errstate(invalid="ignore", over="ignore"):
        steps = np.abs(x[bits].astype(np.float64) - y[bits].astype(np.float64))
        return int(bits.sum()), first, float(np.nanmax(np.nan_to_num(steps, nan=0.0), initial=0))


def ulp_distance(a: tuple[float, ...], b: tuple[float, ...]) -> int:
    """The largest number of float32 steps between two lists of scales; 0 if they are equal or differ in length."""
    if len(a) != len(b):
        return 0
    return max((abs(_position(x) - _position(y)) for x, y in zip(a, b, strict=True)), default=0)


def _position(value: float) -> int:
    """The number of a float32 among all float32 values, in order."""
    bits = int(np.float32(value).view(np.int32))
    return bits if bits >= 0 else -(bits & 0x7FFFFFFF)
