"""Generators of random one-operator models, one file a kernel family. Each takes a random generator and gives a Case.

CASES: name of the check ("CONV_2D", "CONV_2D per tensor", ...) -> generator.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from models import Case

Generator = Callable[[np.random.Generator], Case]

CASES: Mapping[str, Generator] = {
    # convolution, dense, pooling
    # elementwise: binary, unary, lookup tables, conversion
    # softmax, normalization, reduction, resize
    # movement
}
