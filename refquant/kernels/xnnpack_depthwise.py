"""DEPTHWISE_CONV_2D under XNNPACK: which windows have kernels of their own, and what that changes in int8.

Source: google/XNNPACK, src/operators/convolution-nhwc.c; src/qs8-qc8w-dwconv/, src/qs8-qc8w-igemm/.
"""

from __future__ import annotations

from refquant.kernels.depthwise import DepthwiseParams, decode_depthwise, depthwise_conv_2d_params
from refquant.kernels.kernel import Node

TILES = (3, 4, 9, 25)  # the numbers of taps for which there are kernels for depthwise convolutions


def has_own_kernel(depth_multiplier: int, taps: int) -> bool:
    """Whether a kernel for depthwise convolutions runs it; else it is a CONV_2D in groups."""
    return depth_multiplier == 1 and taps <= TILES[-1]


def depthwise_conv_2d_int8_params(node: Node) -> DepthwiseParams:
    """Checks and decodes DEPTHWISE_CONV_2D: see depthwise_conv_2d_params; with kernels of its own it rounds with
    "DEPTHWISE_CONV_2D.few_taps_requantizer".
    """
    *_, window, multiplier, _ = decode_depthwise(node, "INT32")
    few = has_own_kernel(multiplier, window.height.filter * window.width.filter)
    return depthwise_conv_2d_params(node, "few_taps_requantizer" if few else "")
