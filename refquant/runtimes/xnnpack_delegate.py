"""The XNNPACK delegate: which operators it takes, and its arithmetic as the difference from tflite_ref."""

from __future__ import annotations

from refquant.kernels.kernel import Node
from refquant.kernels.table import KERNELS
from refquant.runtimes import xnnpack_elementwise, xnnpack_products
from refquant.runtimes.runtime import Delegate
from refquant.runtimes.tflite_ref import TFLITE_REF
from refquant.runtimes.xnnpack_fusions import FUSIONS

OVERRIDES = {**xnnpack_products.OVERRIDES, **xnnpack_elementwise.OVERRIDES}


def _unpacks(node: Node) -> bool:
    """DEQUANTIZE of a constant to float32. Source: xnnpack_delegate.cc, Delegate::PrepareOpsToDelegate."""
    x = node.optional(0)
    codes = x is not None and (x.type == "FLOAT16" or (x.type == "INT8" and x.quantization is not None))
    return node.op == "DEQUANTIZE" and x is not None and x.stored and codes and node.outputs[0].type == "FLOAT32"


XNNPACK_DELEGATE = Delegate(
    "XNNPACK",
    takes={**xnnpack_products.TAKES, **xnnpack_elementwise.TAKES},
    kernels={**KERNELS, **{op: {**KERNELS[op], **kernels} for op, kernels in OVERRIDES.items()}},
    arithmetic={**TFLITE_REF.arithmetic, **xnnpack_products.ARITHMETIC, **xnnpack_elementwise.ARITHMETIC},
    unpacks=_unpacks,
    inexact=xnnpack_elementwise.INEXACT,
    fusions=FUSIONS,
)
