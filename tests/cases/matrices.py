"""MATRIX_DIAG, MATRIX_SET_DIAG."""

from __future__ import annotations

import numpy as np

from cases.movement import NO_BOOL, build, data_tensor, quantized, some_shape
from models import Case, T


def matrix_diag(rng: np.random.Generator) -> Case:
    x, y = data_tensor(rng, NO_BOOL, some_shape(rng, 1, 4, zero=True, most=60))
    return build(rng, "MATRIX_DIAG", [x], [y])


def matrix_set_diag(rng: np.random.Generator) -> Case:
    shape = some_shape(rng, 2, 5)
    x, y = data_tensor(rng, NO_BOOL, shape)
    diagonal = T((*shape[:-2], min(shape[-2:])), x.type, **quantized(rng, x.type))
    return build(rng, "MATRIX_SET_DIAG", [x, diagonal], [y])
