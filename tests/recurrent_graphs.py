"""Float graphs with LSTM and SVDF operators, with ranges written into every tensor that calibration would measure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from converter_oracle_graphs import NONE, Builder
from refquant.model.graph import Model, Quantization

ABSENT = -1
STEPS, FEATURES, CELLS = 4, 3, 5


def variable(b: Builder, shape: tuple[int, ...], name: str) -> int:
    index = b.add(shape, name)
    b.tensors[index] = replace(b.tensors[index], is_variable=True)
    return index


def set_range(b: Builder, tensor: int, low: float, high: float) -> None:
    quantization = Quantization(min=(float(np.float32(low)),), max=(float(np.float32(high)),))
    b.tensors[tensor] = replace(b.tensors[tensor], quantization=quantization)


def numbers(b: Builder, *shape: int) -> int:
    """A constant of ordinary numbers."""
    return b.constant((b.rng.normal(0, 1, shape) * 10.0 ** b.rng.integers(-2, 2)).astype(np.float32))


def intermediates(b: Builder, measured: tuple[int, ...]) -> tuple[int, ...]:
    """The five tensors that the calibrator adds, with ranges on those that it measures."""
    made = tuple(b.add((0,), f"intermediate_{len(b.operators) - 1}_{number}") for number in range(5))
    for number, tensor in enumerate(made):
        if number not in measured:
            b.tensors[tensor] = replace(b.tensors[tensor], quantization=None)
    return made


def lstm(
    b: Builder,
    x: int,
    layer_norm: bool = False,
    projection: bool = False,
    peephole: bool = False,
    coupled: bool = False,
    projection_bias: bool = True,
    time_major: bool = False,
    weights: Callable[..., int] = numbers,
    biases: Callable[..., int] = numbers,
) -> list[int]:
    """A UNIDIRECTIONAL_SEQUENCE_LSTM; `coupled`: input and forget gate are one (CIFG)."""
    *outer, features = b.shape(x)
    batch, cells = outer[1] if time_major else outer[0], CELLS
    units = 2 if projection else cells
    gates = (ABSENT, 1, 2, 3) if coupled else (0, 1, 2, 3)

    def each(make: Callable[..., int], *shape: int) -> list[int]:
        return [ABSENT if gate == ABSENT else make(b, *shape) for gate in gates]

    absent = [ABSENT] * 4
    inputs = [x, *each(weights, cells, features), *each(weights, cells, units)]
    seen = [gate for gate in gates if gate != 2]  # the gates that see the cell
    inputs += [ABSENT if not peephole or gate == ABSENT else weights(b, cells) for gate in seen]
    inputs += each(biases, cells)
    inputs += [weights(b, units, cells), biases(b, units) if projection_bias else ABSENT] if projection else absent[:2]
    number = len(b.operators)
    inputs += [variable(b, (batch, units), f"state{number}"), variable(b, (batch, cells), f"cell{number}")]
    inputs += each(weights, cells) if layer_norm else absent
    options = {"fused_activation_function": "TANH", "cell_clip": 10.0, "proj_clip": 0.0, "time_major": time_major}
    options |= {"asymmetric_quantize_inputs": False, "diagonal_recurrent_tensors": False}
    results = b.op("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, [(*outer, units)], options)
    measured = (*(gate for gate in gates if layer_norm and gate != ABSENT), 4)
    b.operators[-1] = replace(b.operators[-1], intermediates=intermediates(b, measured))
    return results


def svdf(b: Builder, x: int, rank: int = 1, bias: bool = True, activation: str = "RELU") -> list[int]:
    batch, features = b.shape(x)
    units, memory = 3, 4
    filters = units * rank
    inputs = [x, numbers(b, filters, features), numbers(b, filters, memory), numbers(b, units) if bias else ABSENT]
    inputs.append(variable(b, (batch, memory * filters), f"state{len(b.operators)}"))
    options = {"rank": rank, "fused_activation_function": activation, "asymmetric_quantize_inputs": False}
    return b.op("SVDF", inputs, [(batch, units)], options)


def sequence(b: Builder) -> int:
    return b.input((1, STEPS, FEATURES))


def relu(b: Builder, x: int) -> int:
    return b.op("RELU", [x], [b.shape(x)])[0]


def dense(b: Builder, x: int, units: int = 2) -> int:
    weights, bias = b.weights((units, b.shape(x)[-1]), 0), b.bias(units)
    options = {"weights_format": "DEFAULT", "keep_num_dims": True, "asymmetric_quantize_inputs": False, **NONE}
    (y,) = b.op("FULLY_CONNECTED", [x, weights, bias], [(*b.shape(x)[:-1], units)], options)
    b.operators[-1] = replace(b.operators[-1], version=5)  # which keeps dimensions
    return y


def concatenate(b: Builder, *inputs: int) -> int:
    axis = len(b.shape(inputs[0])) - 1
    shape = (*b.shape(inputs[0])[:-1], sum(b.shape(t)[-1] for t in inputs))
    return b.op("CONCATENATION", list(inputs), [shape], {"axis": axis, **NONE})[0]


def add(b: Builder, x: int, y: int) -> int:
    return b.op("ADD", [x, y], [b.shape(x)], NONE)[0]


def reshape(b: Builder, x: int, *shape: int) -> int:
    (y,) = b.op("RESHAPE", [x, b.constant(np.array(shape, np.int32))], [shape])
    b.operators[-1] = replace(b.operators[-1], options_type=None)
    return y


def sine(b: Builder, x: int) -> int:
    return b.op("SIN", [x], [b.shape(x)])[0]


def same(array: np.ndarray) -> Callable[..., int]:
    """Makes one constant of these numbers for all that ask for one of its shape, others for the rest."""
    made: dict[tuple[int, ...], int] = {}

    def constant(b: Builder, *shape: int) -> int:
        if shape not in made:
            made[shape] = b.constant(np.resize(array, shape).astype(np.float32))
        return made[shape]

    return constant


# LSTM variants: (layer norm, projection, peephole, coupled)
VARIANTS = tuple(product((False, True), repeat=4))


def variant(choice: tuple[bool, bool, bool, bool]) -> Callable[[Builder], None]:
    def build(b: Builder) -> None:
        layer_norm, projection, peephole, coupled = choice
        lstm(b, sequence(b), layer_norm, projection, peephole, coupled)

    return build


def projection_without_bias(b: Builder) -> None:
    lstm(b, sequence(b), projection=True, projection_bias=False)


def time_major(b: Builder) -> None:
    lstm(b, b.input((STEPS, 2, FEATURES)), time_major=True)


def stacked(b: Builder) -> None:
    dense(b, lstm(b, lstm(b, sequence(b))[0])[0])


def three_stacked(b: Builder) -> None:
    x = sequence(b)
    for number in range(3):
        (x,) = lstm(b, x, layer_norm=number == 1)
    b.op("SOFTMAX", [x], [b.shape(x)], {"beta": 1.0})


def two_readers(b: Builder) -> None:
    (y,) = lstm(b, sequence(b))
    dense(b, y)
    relu(b, y)


def joined_with_its_input(b: Builder) -> None:
    x = dense(b, sequence(b), CELLS)
    concatenate(b, lstm(b, x)[0], x)


def side_by_side(b: Builder) -> None:
    x = sequence(b)
    add(b, lstm(b, x)[0], lstm(b, x)[0])


def both_directions(b: Builder) -> None:
    """As Keras's Bidirectional writes it, with biases that both layers read."""
    x, biases = sequence(b), same(np.linspace(-1, 1, CELLS))
    axis = b.constant(np.array([1], np.int32))
    (forward,) = lstm(b, x, biases=biases)
    (turned,) = b.op("REVERSE_V2", [x, axis], [b.shape(x)])
    (backward,) = lstm(b, turned, biases=biases)
    (back,) = b.op("REVERSE_V2", [backward, axis], [b.shape(backward)])
    concatenate(b, forward, back)


def shared_biases(b: Builder) -> None:
    lstm(b, sequence(b), biases=same(np.linspace(-1, 1, CELLS)))


def shared_weights(b: Builder) -> None:
    lstm(b, sequence(b), weights=same(np.linspace(-1, 1, 7)))


def shared_by_two(b: Builder) -> None:
    x, weights = sequence(b), same(np.linspace(-1, 1, 7))
    lstm(b, x, weights=weights)
    lstm(b, x, weights=weights)


def shared_with_a_dense_layer(b: Builder) -> None:
    """Which takes the same constant with a scale per channel."""
    x, weights = sequence(b), same(np.linspace(-1, 1, 7))
    (y,) = lstm(b, x, weights=weights)
    options = {"weights_format": "DEFAULT", "keep_num_dims": False, "asymmetric_quantize_inputs": False, **NONE}
    (z,) = b.op("FULLY_CONNECTED", [x, weights(b, CELLS, FEATURES), ABSENT], [(STEPS, CELLS)], options)
    add(b, reshape(b, y, STEPS, CELLS), z)


def of_a_float_operator(b: Builder) -> None:
    sine(b, lstm(b, sine(b, sequence(b)))[0])


def after_dense_layers(b: Builder) -> None:
    x = dense(b, sequence(b), FEATURES)
    lstm(b, b.op("TANH", [x], [b.shape(x)])[0])


def of_a_softmax(b: Builder) -> None:
    x = sequence(b)
    (y,) = b.op("SOFTMAX", [x], [b.shape(x)], {"beta": 1.0})
    lstm(b, y)


def one_svdf(b: Builder) -> None:
    svdf(b, b.input((1, FEATURES)))


def svdf_of_two_ranks(b: Builder) -> None:
    dense(b, svdf(b, b.input((1, FEATURES)), rank=2, activation="NONE")[0])


def svdf_without_bias(b: Builder) -> None:
    svdf(b, b.input((2, FEATURES)), bias=False)


def svdf_in_a_row(b: Builder) -> None:
    (x,) = svdf(b, dense(b, b.input((1, FEATURES)), FEATURES))
    (x,) = svdf(b, x, rank=2)
    b.op("SOFTMAX", [x], [b.shape(x)], {"beta": 1.0})


def svdf_beside_lstm(b: Builder) -> None:
    x = b.input((1, FEATURES))
    svdf(b, x)
    lstm(b, reshape(b, x, 1, 1, FEATURES))


GRAPHS: tuple[Callable[[Builder], None], ...] = (
    projection_without_bias,
    time_major,
    stacked,
    three_stacked,
    two_readers,
    joined_with_its_input,
    side_by_side,
    both_directions,
    shared_biases,
    shared_weights,
    shared_by_two,
    of_a_float_operator,
    after_dense_layers,
    of_a_softmax,
    one_svdf,
    svdf_of_two_ranks,
    svdf_without_bias,
    svdf_in_a_row,
    svdf_beside_lstm,
)


def recurrent_graph(build: Callable[[Builder], None], seed: int) -> Model:
    b = Builder(np.random.default_rng(seed))
    build(b)
    return b.model()
