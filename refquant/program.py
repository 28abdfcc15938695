"""How a model is prepared and executed: prepare once (decode, check, compute multipliers) -> steps -> run on arrays."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arithmetic.exact import NARROW, Narrow
from refquant.errors import InvalidInput, InvalidModel, RefquantError, UnsupportedModel
from refquant.kernels.kernel import Batching, Kernel, Node, Operand, Shape
from refquant.kernels.table import TYPE_OPERAND, WEIGHT_OPERAND
from refquant.model import load
from refquant.model.graph import Array, Model, Operator, Tensor
from refquant.model.schema import OPTIONS_OF, default_options, zero_options
from refquant.model.validation import MAX_ELEMENTS, check_quantized_dimensions, operator_place
from refquant.runtimes import runtime_named
from refquant.runtimes.runtime import Runtime

ModelLike = Model | str | Path | bytes
Inputs = Array | Sequence[Array] | Mapping[str, Array]

# Samples run together while the largest tensor of all of them stays below this many bytes.
BLOCK_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """One operator, prepared. `params` is None while shapes or parameter values are known only when it runs."""

    node: Node
    kernel: Kernel
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    params: Any


@dataclass(frozen=True, slots=True)
class Program:
    """A prepared main graph: `known` holds the constants and everything that follows from them and the shapes."""

    model: Model
    steps: tuple[Step, ...]
    known: Mapping[int, Array]
    shapes: Mapping[int, Shape]  # of the tensors whose shape is known before a run
    last_use: Mapping[int, int]  # tensor -> the last step that reads it


def _kernel_for(operator: Operator, operands: Sequence[Operand | None], runtime: Runtime, place: str) -> Kernel:
    by_type = runtime.kernels.get(operator.name)
    if by_type is None:
        name = operator.custom_code if operator.custom_code is not None else operator.name
        raise UnsupportedModel(f"{place}: the operator {name} is not built for runtime {runtime.name}")
    index = TYPE_OPERAND.get(operator.name, 0)
    decider = operands[index] if index < len(operands) else None
    if decider is None:
        raise InvalidModel(f"{place}: input {index} is missing")
    weights = operands[WEIGHT_OPERAND[operator.name] :] if operator.name in WEIGHT_OPERAND else ()
    type, names = _kernel_type(decider, weights[0] if weights else None)
    if type not in by_type:
        raise UnsupportedModel(
            f"{place}: type {type} of {names} is not built for {operator.name} in runtime {runtime.name}; built are "
            f"{', '.join(by_type)}"
        )
    return by_type[type]


def _kernel_type(decider: Operand, weights: Operand | None) -> tuple[str, str]:
    """(the key of a kernel in the table, the tensors whose types it names)."""
    if weights is None or weights.type == decider.type:
        return decider.type, f"tensor '{decider.name}'"
    return f"{decider.type}x{weights.type}", f"tensors '{decider.name}' and '{weights.name}'"


def narrow_named(overflow: str) -> Narrow:
    """How int32 accumulators are narrowed: "wrap" or "error". InvalidInput for anything else."""
    if not isinstance(overflow, str) or overflow not in NARROW:
        raise InvalidInput(f"overflow='{overflow}': must be one of {', '.join(NARROW)}")
    return NARROW[overflow]


def prepare(
    model: Model, runtime: Runtime, overflow: str = "wrap", input_shapes: Mapping[int, Shape] | None = None
) -> Program:
    """The main graph as steps whose parameters are decoded, checked and computed, as far as shapes allow.

    overflow: "wrap" (int32 accumulators wrap as the runtime's do) or "error". input_shapes: tensor index -> shape, for
    inputs that were resized. Errors: InvalidModel, UnsupportedModel, naming operator and place.
    """
    narrow_named(overflow)
    check_quantized_dimensions(model)
    graph = model.graph
    shapes: dict[int, Shape] = {index: graph.tensors[index].shape for index in graph.inputs}
    shapes.update(input_shapes or {})
    shapes.update((index, tensor.shape) for index, tensor in enumerate(graph.tensors) if tensor.is_variable)
    known: dict[int, Array] = {}
    computed = {*graph.inputs, *(index for operator in graph.operators for index in operator.outputs)}
    read = {*graph.outputs, *(index for operator in graph.operators for index in operator.inputs)}
    for index in sorted(read - {*graph.inputs, -1}):  # what a graph input's buffer holds is never read
        tensor = graph.tensors[index]
        value = model.constant(tensor) if tensor.buffer and model.buffers[tensor.buffer] else None
        if value is None and 0 in tensor.shape and index not in computed and not tensor.is_variable:
            value = np.zeros(tensor.shape, tensor.dtype)  # a constant without elements has an empty buffer
        if value is not None:
            known[index], shapes[index] = value, value.shape
    last_use = {index: len(graph.operators) for index in graph.outputs}
    steps = []
    for position, operator in enumerate(graph.operators):
        place = operator_place(0, position, operator)
        step = _prepare_step(graph.tensors, operator, runtime, overflow, place, known, shapes)
        for index in operator.inputs:
            last_use[index] = max(last_use.get(index, position), position)
        if step.params is not None:
            shapes.update(
                (index, _countable(shape, place))
                for index, shape in zip(operator.outputs, step.params.output_shapes, strict=True)
                if shape is not None
            )
            _fold(step, known)
        steps.append(step)
    return Program(model, tuple(steps), known, shapes, last_use)


def _prepare_step(
    tensors: Sequence[Tensor],
    operator: Operator,
    runtime: Runtime,
    overflow: str,
    place: str,
    known: Mapping[int, Array],
    shapes: Mapping[int, Shape],
) -> Step:
    def operand(index: int) -> Operand:
        tensor = tensors[index]
        shape = shapes.get(index, tensor.shape)
        return Operand(tensor.name, tensor.type, shape, tensor.quantization, known.get(index), tensor.shape_signature)

    inputs = tuple(None if index < 0 else operand(index) for index in operator.inputs)
    kernel = _kernel_for(operator, inputs, runtime, place)
    node = Node(
        place,
        operator.name,
        _options(operator),
        inputs,
        tuple(operand(index) for index in operator.outputs),
        runtime.arithmetic,
        NARROW[overflow],
        operator.version,
    )
    ready = all(
        index < 0 or (index in known if slot in kernel.value_operands else index in shapes)
        for slot, index in enumerate(operator.inputs)
    )
    with _told_with_its_place(place):
        params = kernel.prepare(node) if ready else None
    return Step(node, kernel, operator.inputs, operator.outputs, params)


def _countable(shape: Shape, place: str) -> Shape:
    """The shape; UnsupportedModel if it has more elements than TFLite's int32 counts."""
    if math.prod(shape) > MAX_ELEMENTS:
        raise UnsupportedModel(f"{place}: an output of shape {shape} has more than {MAX_ELEMENTS:,} elements")
    return shape


def _options(operator: Operator) -> Mapping[str, Any]:
    """The operator's options with every field present."""
    table = operator.options_type or OPTIONS_OF.get(operator.name)
    if table is None:
        return operator.options
    absent = operator.options_type is None and not operator.options
    return zero_options(table) if absent else {**default_options(table), **operator.options}


def _fold(step: Step, known: dict[int, Array]) -> None:
    """Runs a step whose every input is known, so that later parameters may follow from it (a reshape's new shape)."""
    not_data = (*step.kernel.value_operands, *step.kernel.shape_operands)
    data = [index for slot, index in enumerate(step.inputs) if index >= 0 and slot not in not_data]
    if not step.inputs or not all(index in known for index in data):
        return
    arrays = [None if slot in not_data or index < 0 else known[index] for slot, index in enumerate(step.inputs)]
    with _told_with_its_place(step.node.place):
        known.update(zip(step.outputs, step.kernel.run(step.params, arrays), strict=True))


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor while a model runs: shared by all samples, or one array per sample along a leading axis."""

    array: Array
    batched: bool = False

    @property
    def shape(self) -> Shape:
        """The shape that one sample sees."""
        return self.array.shape[1:] if self.batched else self.array.shape


def _params_for(step: Step, values: Sequence[Value | None]) -> Any:
    """The step's params, prepared again where shapes or parameter values differ from the prepared ones."""
    kernel, node = step.kernel, step.node
    shapes = tuple(None if value is None else value.shape for value in values)
    if step.params is not None and shapes == tuple(None if o is None else o.shape for o in node.inputs):
        return step.params
    inputs = tuple(
        operand
        if operand is None or value is None
        else replace(operand, shape=value.shape, value=value.array if slot in kernel.value_operands else operand.value)
        for slot, (operand, value) in enumerate(zip(node.inputs, values, strict=True))
    )
    return kernel.prepare(replace(node, inputs=inputs))


def _run_step(step: Step, values: Sequence[Value | None], samples: int) -> tuple[Value, ...]:
    kernel = step.kernel
    hidden = (*kernel.value_operands, *kernel.shape_operands)
    given = [values[slot] for slot in kernel.value_operands if slot < len(values)]
    if any(value is not None and value.batched for value in given):
        return _run_loop(step, values, samples)
    params = _params_for(step, values)
    data = [None if slot in hidden else value for slot, value in enumerate(values)]
    if not any(value is not None and value.batched for value in data):
        arrays = [None if value is None else value.array for value in data]
        return tuple(Value(array) for array in kernel.run(params, arrays))
    batching = kernel.batching if isinstance(kernel.batching, Batching) else kernel.batching(params)
    if batching is Batching.LEADING:
        return tuple(Value(array, True) for array in kernel.run(params, _aligned(data)))
    rows = range(len(data)) if kernel.row_operands is None else kernel.row_operands
    foldable = all(
        value is None or (value.batched == (slot in rows) and (not value.batched or value.shape))
        for slot, value in enumerate(data)
    )
    if batching is Batching.ROWS and foldable and None not in params.output_shapes:
        arrays = [None if value is None else _rows(value.array) if value.batched else value.array for value in data]
        outputs = kernel.run(params, arrays)
        return tuple(
            Value(array.reshape(samples, *shape), True)
            for array, shape in zip(outputs, params.output_shapes, strict=True)
        )
    return _run_loop(step, values, samples)


def _rows(array: Array) -> Array:
    """(S, B, ...) -> (S * B, ...)."""
    return array.reshape(array.shape[0] * array.shape[1], *array.shape[2:])


def _aligned(data: Sequence[Value | None]) -> list[Array | None]:
    """Batched arrays with axes of 1 behind the sample axis, so that all ranks agree and broadcasting is right."""
    rank = max(len(value.shape) for value in data if value is not None)
    return [
        None
        if value is None
        else value.array.reshape(value.array.shape[0], *(1,) * (rank - len(value.shape)), *value.shape)
        if value.batched
        else value.array
        for value in data
    ]


def _run_loop(step: Step, values: Sequence[Value | None], samples: int) -> tuple[Value, ...]:
    results = []
    for sample in range(samples):
        single = [Value(v.array[sample]) if v is not None and v.batched else v for v in values]
        results.append([value.array for value in _run_step(step, single, 1)])
    stacked = []
    for position, arrays in enumerate(zip(*results, strict=True)):
        if len({array.shape for array in arrays}) != 1:
            raise InvalidInput(
                f"{step.node.place}: the shape of output {position} differs between samples; run them one by one"
            )
        stacked.append(Value(np.stack(arrays), True))
    return tuple(stacked)


def zero_variables(model: Model) -> dict[int, Array]:
    """The variable tensors as they are before the first run."""
    tensors = enumerate(model.graph.tensors)
    return {index: np.zeros(tensor.shape, tensor.dtype) for index, tensor in tensors if tensor.is_variable}


@contextmanager
def _told_with_its_place(place: str) -> Iterator[None]:
    """Every error as one line that names the operator, also memory that runs out and a fault of refquant itself."""
    try:
        yield
    except RefquantError as error:
        if str(error).startswith(place):
            raise
        raise type(error)(f"{place}: {error}") from None
    except MemoryError:
        raise UnsupportedModel(f"{place}: needs more memory than there is") from None
    except Exception as error:
        raise RefquantError(
            f"{place}: internal error ({type(error).__name__}: {error}); please report it with the model"
        ) from error


def execute(
    program: Program,
    inputs: Mapping[int, Value],
    samples: int = 1,
    keep: Callable[[int, Value], object] | None = None,
) -> dict[int, Value]:
    """Runs the steps. inputs: tensor index -> value. Returns the graph's outputs by tensor index.

    keep: called with (tensor index, value) for every tensor a step computes, in order.
    """
    graph = program.model.graph
    values: dict[int, Value] = {index: Value(array) for index, array in program.known.items()}
    values.update((index, Value(array)) for index, array in zero_variables(program.model).items())
    values.update(inputs)
    for position, step in enumerate(program.steps):
        if not all(index in program.known for index in step.outputs):
            operands = [None if index < 0 else values[index] for index in step.inputs]
            with _told_with_its_place(step.node.place):
                results = _run_step(step, operands, samples)
            values.update(zip(step.outputs, results, strict=True))
        if keep is not None:
            for index in step.outputs:
                keep(index, values[index])
        for index in {*step.inputs, *step.outputs}:
            if program.last_use.get(index, position) <= position and index not in program.known:
                values.pop(index, None)
    return {index: values[index] for index in graph.outputs}


def as_model(model: ModelLike) -> Model:
    """The model itself, or the one read from a path or bytes."""
    return model if isinstance(model, Model) else load(model)


def check_array(array: Array, tensor: Tensor) -> Array:
    """The array, if its dtype is the tensor's; else InvalidInput with what to do."""
    array = as_array(array)
    if array.dtype.newbyteorder("=") == tensor.dtype:
        return array.astype(tensor.dtype, copy=False)  # a foreign byte order is no other type
    raise InvalidInput(
        f"input '{tensor.name}' takes {tensor.dtype.name} ({tensor.type}), but the array is {array.dtype.name}; "
        + _how_to_convert(tensor)
    )


def _how_to_convert(tensor: Tensor) -> str:
    q = tensor.quantization
    if tensor.type.startswith(("INT", "UINT")) and q is not None and len(q.scale) == 1:
        zero_point = q.zero_point[0] if q.zero_point else 0
        return f"quantize it first: round(x / {q.scale[0]!r}) + {zero_point}, clipped to the range of {tensor.type}"
    return f"convert it with .astype('{tensor.dtype.name}')"


def named_inputs(model: Model, inputs: Inputs) -> list[tuple[int, Array]]:
    """(tensor index, array) for every graph input, from an array, a list, or {tensor or signature name: array}.

    Errors: InvalidInput for a wrong number or name, or what is no array.
    """
    graph = model.graph
    if isinstance(inputs, Mapping):
        given = _by_index(model, inputs)
        missing = [graph.tensors[index].name for index in graph.inputs if index not in given]
        if missing:
            raise InvalidInput(f"the input '{missing[0]}' is missing")
        return [(index, given[index]) for index in graph.inputs]
    if not isinstance(inputs, np.ndarray | list | tuple):
        raise InvalidInput(f"inputs must be an array, a list of arrays or a dictionary, not {type(inputs).__name__}")
    arrays = [inputs] if isinstance(inputs, np.ndarray) else list(inputs)
    if len(arrays) != len(graph.inputs):
        raise InvalidInput(f"the model has {len(graph.inputs)} inputs, but {len(arrays)} arrays were given")
    return [(index, as_array(array)) for index, array in zip(graph.inputs, arrays, strict=True)]


def _by_index(model: Model, inputs: Mapping[str, Array]) -> dict[int, Array]:
    names: dict[str, set[int]] = {}
    for index in model.graph.inputs:
        names.setdefault(model.graph.tensors[index].name, set()).add(index)
    for signature in model.signatures:
        for name, index in signature.inputs if signature.subgraph == 0 else ():
            names.setdefault(name, set()).add(index)
    given: dict[int, Array] = {}
    for name, array in inputs.items():
        if name not in names:
            raise InvalidInput(f"no input is named '{name}'; the inputs are: {', '.join(sorted(names))}")
        if len(names[name]) > 1:
            raise InvalidInput(f"several inputs are named '{name}'; give the arrays as a list")
        (index,) = names[name]
        if index in given:
            raise InvalidInput(f"the input '{model.graph.tensors[index].name}' is given twice, once as '{name}'")
        given[index] = as_array(array)
    return given


def as_array(value: Any) -> Array:
    """np.asarray(value). InvalidInput for lists of unequal length."""
    try:
        return np.asarray(value)
    except ValueError as error:
        raise InvalidInput(f"this is no array: {error}") from None


def split_samples(model: Model, inputs: Inputs) -> tuple[dict[int, Array], int | None]:
    """({tensor index: array}, samples): with samples = N each array has shape (N, *tensor shape), with None just that.

    An array of the tensor's own shape is one run. On a tensor of batch 1, an array with N instead of the 1 is N runs.
    Errors: InvalidInput for a wrong dtype, shape, number or name.
    """
    arrays: dict[int, Array] = {}
    counts: set[int | None] = set()
    for index, given in named_inputs(model, inputs):
        tensor = model.graph.tensors[index]
        array = check_array(given, tensor)
        shape = tensor.shape
        if array.shape == shape:
            arrays[index], count = array, None
        elif shape[:1] == (1,) and array.shape[1:] == shape[1:] and array.ndim == len(shape) and len(array):
            arrays[index], count = array[:, np.newaxis], len(array)
        else:
            batch = f" or (N, {', '.join(map(str, shape[1:]))})" if shape[:1] == (1,) else ""
            raise InvalidInput(f"input '{tensor.name}' has shape {shape}{batch}, but the array has shape {array.shape}")
        counts.add(count)
    if len(counts) > 1:
        raise InvalidInput(f"the inputs disagree in their number of samples: {sorted(c or 1 for c in counts)}")
    return arrays, next(iter(counts), None)


def block_size(program: Program) -> int:
    """How many samples to run together: as many as keep the largest tensor within BLOCK_BYTES."""
    tensors = program.model.graph.tensors
    largest = max(
        (
            int(np.prod(shape, dtype=np.int64)) * tensors[index].dtype.itemsize
            for index, shape in program.shapes.items()
        ),
        default=1,
    )
    return max(1, BLOCK_BYTES // max(largest, 1))


def run_program(program: Program, inputs: Inputs) -> Iterator[tuple[int, list[Array]]]:
    """Runs block after block: yields (samples done, outputs of the block), outputs with the samples in dim 0."""
    arrays, samples = split_samples(program.model, inputs)
    outputs = program.model.graph.outputs
    if samples is None:
        values = execute(program, {index: Value(array) for index, array in arrays.items()})
        yield 1, [values[index].array for index in outputs]
        return
    size = block_size(program)
    for start in range(0, samples, size):
        count = min(size, samples - start)
        block = {index: Value(array[start : start + count], True) for index, array in arrays.items()}
        values = execute(program, block, count)
        yield start + count, [_join_samples(values[index], count) for index in outputs]


def _join_samples(value: Value, samples: int) -> Array:
    """(N, 1, ...) -> (N, ...); any other shape keeps the sample axis in front."""
    array = value.array if value.batched else np.broadcast_to(value.array, (samples, *value.array.shape))
    return array.reshape(samples, *array.shape[2:]) if array.shape[1:2] == (1,) else array


def run(
    model: ModelLike,
    inputs: Inputs,
    runtime: str = "tflite_ref",
    overflow: str = "wrap",
    progress: Callable[[int], object] | None = None,
) -> list[Array]:
    """The model's outputs, in the model's order.

    inputs: an array, a list in the model's order, or {name: array}. On a model of batch 1, an array with N in place of
    the 1 gives what N single runs give, joined along dim 0 (outputs without a leading 1 get a new axis in front);
    under "fast_float" float sums may round otherwise in a batch. progress: called with the number of samples done.
    Errors: InvalidInput, InvalidModel, UnsupportedModel; AccumulatorOverflow with overflow="error".
    """
    program = prepare(as_model(model), runtime_named(runtime), overflow)
    blocks = []
    for done, outputs in run_program(program, inputs):
        blocks.append(outputs)
        if progress is not None:
            progress(done)
    return [np.concatenate(parts) if len(parts) > 1 else np.array(parts[0]) for parts in zip(*blocks, strict=True)]


def run_all_tensors(
    model: ModelLike, inputs: Inputs, runtime: str = "tflite_ref", overflow: str = "wrap"
) -> dict[int, Array]:
    """Every tensor an operator computes, by tensor index; N samples as in `run`, joined the same way."""
    program = prepare(as_model(model), runtime_named(runtime), overflow)
    arrays, samples = split_samples(program.model, inputs)
    kept: dict[int, Value] = {}
    values = {index: Value(array, samples is not None) for index, array in arrays.items()}
    execute(program, values, samples or 1, kept.__setitem__)
    return {index: value.array if samples is None else _join_samples(value, samples) for index, value in kept.items()}
