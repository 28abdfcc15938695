"""UNIDIRECTIONAL_SEQUENCE_LSTM: float32, float32 with weights of int8, int8. Several runs keep the states."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cases import hybrid
from cases.convolution import pick
from models import Case, T, one_op

ACTIVATIONS = ("TANH", "TANH", "TANH", "RELU", "RELU6", "RELU_N1_TO_1", "SIGN_BIT", "NONE")
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 16, 17, 20, 33)


@dataclass
class Form:
    """What an LSTM has, and how large it is."""

    batch: int
    steps: int
    inputs: int
    cells: int
    outputs: int
    time_major: bool
    coupled: bool
    peephole: bool
    layer_norm: bool
    projection: bool
    projection_bias: bool
    diagonal: tuple[bool, bool, bool, bool]
    count: int

    @property
    def shape(self) -> tuple[int, int, int]:
        return (*((self.steps, self.batch) if self.time_major else (self.batch, self.steps)), self.inputs)


def form(rng, may_be_diagonal: bool = True, sizes=SIZES) -> Form:
    cells = int(pick(rng, sizes))
    projection, layer_norm = bool(rng.integers(3) == 0), bool(rng.integers(3) == 0)
    outputs = int(pick(rng, [size for size in sizes if size <= cells])) if projection else cells
    diagonal = (False,) * 4
    if may_be_diagonal and not projection and rng.integers(5) == 0:
        diagonal = tuple(bool(value) for value in rng.integers(0, 2, 4))
    return Form(
        int(pick(rng, (1, 1, 2, 3, 5))),
        40 if rng.integers(50) == 0 else int(pick(rng, (1, 2, 3, 5))),
        int(pick(rng, (100, 700, 1500))) if rng.integers(20) == 0 else int(pick(rng, sizes)),
        cells,
        outputs,
        bool(rng.integers(2)),
        bool(rng.integers(4) == 0),
        bool(rng.integers(3) == 0),
        layer_norm,
        projection,
        projection and bool(rng.integers(2)),
        diagonal,
        24 if layer_norm or rng.integers(2) else 20,
    )


def operands(form: Form, matrix, diagonal, peephole, bias, coefficients, projection_bias, states) -> list[T | None]:
    """The inputs behind input 0. Each argument makes an operand: matrix(rows, columns), the others of a size."""
    gates = [not form.coupled, True, True, True]
    seen = [not form.coupled, True, True]
    return [
        *(matrix(form.cells, form.inputs) if there else None for there in gates),
        *(
            None if not there else diagonal(form.cells) if single else matrix(form.cells, form.outputs)
            for there, single in zip(gates, form.diagonal, strict=True)
        ),
        *(peephole(form.cells) if there and form.peephole else None for there in seen),
        *(bias(form.cells) if there else None for there in gates),
        matrix(form.outputs, form.cells) if form.projection else None,
        projection_bias(form.outputs) if form.projection_bias else None,
        *states,
        *(coefficients(form.cells) if there and form.layer_norm else None for there in gates),
    ][: form.count - 1]


def clips(rng, cell, projection) -> dict[str, float]:
    return {"cell_clip": float(pick(rng, (0.0, *cell))), "proj_clip": float(pick(rng, (0.0, *projection)))}


def float_states(form: Form) -> list[T]:
    return [T((form.batch, size), "FLOAT32", variable=True) for size in (form.outputs, form.cells)]


def values(rng, *shape: int) -> np.ndarray:
    size = np.float32(pick(rng, (1.0, 0.3, 3.0, 30.0)))
    return (rng.standard_normal(shape).astype(np.float32) * size).astype(np.float32)


def vector(rng):
    return lambda size: T(data=np.where(rng.integers(0, 9, size), values(rng, size), -0.0).astype(np.float32))


def runs(rng) -> int:
    """How often the model runs one after another."""
    return 20 if rng.integers(40) == 0 else 3


def sequences(rng, form: Form, count: int) -> list[list[np.ndarray]]:
    """Values of all sizes, steps and sequences of zeros."""
    drawn = []
    for number in range(count):
        x = values(rng, *form.shape)
        if rng.integers(3) == 0:
            x[rng.integers(0, 2, form.shape[:2]).astype(bool)] = pick(rng, (0.0, -0.0))
        if number == count - 1:
            x = np.full(form.shape, pick(rng, (0.0, 1e-30, 1e6, -1e6)), np.float32)
        drawn.append([x])
    return drawn


def lstm_float(rng, form_: Form | None = None) -> Case:
    form_ = form_ or form(rng)
    inputs = operands(form_, lambda *s: T(data=values(rng, *s)), *[vector(rng)] * 5, float_states(form_))
    options = {
        "fused_activation_function": pick(rng, ACTIVATIONS),
        "time_major": form_.time_major,
        **clips(rng, (0.5, 3.0, 10.0), (0.25, 1.0)),
    }
    output = T((1, 1, form_.outputs), "FLOAT32")
    model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", [T(form_.shape, "FLOAT32"), *inputs], [output], options)
    return Case(model, sequences(rng, form_, runs(rng)))


def lstm_hybrid(rng, form_: Form | None = None) -> Case:
    """So that no gate falls below e^-30: what is near 0 alone in its row has no codes, and refquant refuses it."""
    form_ = form_ or form(rng)
    unsigned = rng.integers(5) == 0
    largest = 20 / 127 / (form_.inputs * 8 + form_.outputs * 3)

    def matrix(*shape: int) -> T:
        codes = hybrid.weights(rng, shape)
        scale = largest * rng.uniform(0.05, 1) if len(shape) == 2 else 0.1 / 127
        return T(data=codes.view(np.uint8) if unsigned else codes, scale=float(np.float32(scale)))

    def calm(size: int) -> T:
        return T(data=np.clip(vector(rng)(size).data, -3, 3))

    inputs = operands(form_, matrix, calm, matrix, calm, calm, calm, float_states(form_))
    activation = pick(rng, ACTIVATIONS)
    options = {
        "fused_activation_function": activation,
        "time_major": form_.time_major,
        "asymmetric_quantize_inputs": bool(rng.integers(2)),
        **clips(rng, (0.5, 3.0), (0.25, 1.0)),
    }
    if activation in ("RELU", "NONE"):
        options["cell_clip"] = 3.0
    output = T((1, 1, form_.outputs), "FLOAT32")
    model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", [T(form_.shape, "FLOAT32"), *inputs], [output], options, 3)
    drawn = [*sequences(rng, form_, runs(rng) - 1), [hybrid.activations(rng, form_.shape)]]
    return Case(model, [[np.where(np.abs(x) < 1e-9, x * 0, np.clip(x, -8, 8)).astype(np.float32)] for (x,) in drawn])


def codes(rng, shape, type: str = "int8") -> np.ndarray:
    """Random codes, small ones, or the ends of the range."""
    info = np.iinfo(type)
    kind = rng.integers(5)
    if kind == 0:
        return rng.choice(np.array([info.min, info.max], type), shape)
    if kind == 1:
        return rng.integers(-3, 4, shape).astype(type)
    return rng.integers(info.min, info.max, shape, type, endpoint=True)


def scale(rng, low: float, high: float) -> float:
    """A power of two now and then, so that products come to lie half-way."""
    drawn = np.exp(rng.uniform(np.log(low), np.log(high)))
    return float(np.float32(2.0 ** np.round(np.log2(drawn)) if rng.integers(3) == 0 else drawn))


def lstm_int8(rng, form_: Form | None = None) -> Case:
    form_ = form_ or form(rng, may_be_diagonal=False)
    x = T(form_.shape, "INT8", scale(rng, 1e-3, 0.1), int(rng.integers(-128, 128)))
    zero_point = int(pick(rng, (-128, 127, 0, *rng.integers(-128, 128, 3))))
    state = T((form_.batch, form_.outputs), "INT8", scale(rng, 1e-3, 0.02), zero_point, variable=True)
    exponent = int(rng.integers(-15, -8))
    if rng.integers(8) == 0 and not form_.coupled:
        exponent = int(pick(rng, (-20, -16, -16, -8, -4, 1)))
    cell = T((form_.batch, form_.cells), "INT16", 2.0**exponent, variable=True)

    def weights(*shape: int) -> T:
        size = 1e-2 if rng.integers(4) else 0.3
        zero_point = int(rng.integers(4) == 0)  # never read
        return T(data=codes(rng, shape), scale=scale(rng, 1e-4, size), zero_point=zero_point)

    def bias(size: int) -> T:
        limit = int(pick(rng, (10, 10_000, 2**31 - 1)))
        return T(data=rng.integers(-limit, limit + 1, size).astype(np.int32), scale=1e-5)

    def vector_of_int16(low: float, high: float):
        return lambda size: T(data=codes(rng, (size,), "int16"), scale=scale(rng, low, high))

    inputs = operands(
        form_, weights, weights, vector_of_int16(1e-6, 1e-3), bias, vector_of_int16(1e-6, 1e-3), bias, [state, cell]
    )
    gates = [T((1,), "INT16", scale(rng, 1e-5, 1e-2)) for _ in range(4)]
    hidden = T((1,), "INT8", scale(rng, 1e-3, 0.02), int(rng.integers(-128, 128)))
    options = {
        "fused_activation_function": pick(rng, ACTIVATIONS),
        "time_major": form_.time_major,
        **clips(rng, (0.015625, 0.5, 3.0, 1e4), (0.015625, 0.25, 1.0)),
    }
    output = T((1, 1, form_.outputs), "INT8", state.scale, state.zero_point)
    model = one_op("UNIDIRECTIONAL_SEQUENCE_LSTM", [x, *inputs], [output], options, 3, [*gates, hidden])
    drawn = [[codes(rng, form_.shape)] for _ in range(runs(rng) - 1)]
    return Case(model, [*drawn, [np.full(form_.shape, pick(rng, (-128, 127, x.zero_point)), np.int8)]])


def rnn(op: str):
    """RNN, of one step, or UNIDIRECTIONAL_SEQUENCE_RNN, with weights of float32, int8 or uint8."""

    def generate(rng) -> Case:
        hybrid_weights = bool(rng.integers(2))
        one = form(rng, may_be_diagonal=False)
        shape = one.shape if op != "RNN" else (one.batch, one.inputs)
        largest, unsigned = 3 / 127 / (one.inputs * 8 + one.cells * 3), rng.integers(5) == 0

        def matrix(*size: int) -> T:
            if not hybrid_weights:
                return T(data=values(rng, *size))
            codes = hybrid.weights(rng, size)
            return T(data=codes.view(np.uint8) if unsigned else codes, scale=float(np.float32(largest)))

        state = T((one.batch, one.cells), "FLOAT32", variable=True)
        inputs = [T(shape, "FLOAT32"), matrix(one.cells, one.inputs), matrix(one.cells, one.cells)]
        inputs += [vector(rng)(one.cells), state]
        options = {"fused_activation_function": pick(rng, ACTIVATIONS)}
        if op != "RNN":
            options["time_major"] = one.time_major
        if hybrid_weights:
            options["asymmetric_quantize_inputs"] = bool(rng.integers(2))
        model = one_op(op, inputs, [T((1,) * len(shape), "FLOAT32")], options, 3)
        drawn = [sample.reshape(shape) if op != "RNN" else sample for (sample,) in _samples(rng, one, op)]
        if hybrid_weights:
            drawn = [np.where(np.abs(x) < 1e-9, x * 0, np.clip(x, -8, 8)).astype(np.float32) for x in drawn]
        return Case(model, [[x] for x in drawn])

    return generate


def _samples(rng, one: Form, op: str) -> list[list[np.ndarray]]:
    whole = sequences(rng, one, runs(rng))
    return whole if op != "RNN" else [[x.swapaxes(0, 1)[0] if not one.time_major else x[0]] for (x,) in whole]
