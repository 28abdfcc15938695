"""The float model of quantization-aware training without its QUANTIZE and DEQUANTIZE: what each pair stands at.

A converter writes a fake-quantization node as such a pair. A pair at a tensor that nothing else reads is a property of
that tensor. At any other tensor it becomes an operator, FAKE_QUANT, that stays in the graph until the end.
Source: google-ai-edge/LiteRT, tflite/converter/utils/fake_quant_utils.h (InsertTFLQuantOpsAfterTFFakeQuantOp) and
tflite/converter/transforms/prepare_quantize.cc (SanityCheckAndAdjustment); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from refquant.errors import NotQuantizable
from refquant.model.graph import Graph, Model, Operator, Tensor
from refquant.quantizer.accepted import CONVERSIONS
from refquant.quantizer.why import called

FAKE_QUANT = "FAKE_QUANT"
PLACE = Operator(FAKE_QUANT, (), ())  # where a conversion stood, so that operators keep their numbers
EIGHT_BITS = ("UINT8", "INT8")


@dataclass(frozen=True, slots=True)
class Unpaired:
    """`model`: without pairs; tensors and operators keep their places.

    `pairs`: tensor -> the results of its QUANTIZE and DEQUANTIZE, in the order of the operators. `outputs`: of each
    graph output the tensor that gives it its name.
    """

    model: Model
    pairs: Mapping[int, tuple[int, int]]
    outputs: tuple[int, ...]


def unpaired(model: Model) -> Unpaired:
    """The model without its pairs. Errors: NotQuantizable for a file that is no such float model, naming the place."""
    graph = model.graph
    pairs = _pairs(graph)
    if not pairs:
        raise NotQuantizable(
            "the model holds no QUANTIZE and DEQUANTIZE pair; mode 'qat' takes the float model that the converter "
            "writes of a network with fake quantization, without optimizations"
        )
    outputs = _quantized_outputs(graph, pairs)
    readers = Counter(tensor for operator in graph.operators for tensor in operator.inputs) + Counter(outputs)
    constants = {index for index in range(len(graph.tensors)) if model.buffers[graph.tensors[index].buffer]}
    tensors, operators = list(graph.tensors), []
    renamed: dict[int, int] = {}  # result of a DEQUANTIZE -> the tensor that takes its place
    given: dict[int, tuple[int, int]] = {}
    for operator in graph.operators:
        if operator.name == "DEQUANTIZE":
            operators.append(PLACE)
            continue
        if operator.name != "QUANTIZE":
            inputs = tuple(renamed.get(tensor, tensor) for tensor in operator.inputs)
            operators.append(replace(operator, inputs=inputs))
            continue
        source, quantized = operator.inputs[0], operator.outputs[0]
        results = pairs.get(quantized, ())
        if not results:
            operators.append(PLACE)
            continue
        place, made = results[0], PLACE
        if source in constants:
            tensors[place] = tensors[source]
        elif readers[source] == 1 and source not in renamed:
            place = source
        else:
            source = renamed.get(source, source)
            tensors[place] = _shaped_as(tensors[place], tensors[source])
            made = Operator(FAKE_QUANT, (source,), (place,))
        operators.append(made)
        renamed.update((result, place) for result in results)
        given[place] = (quantized, results[0])
    new = replace(
        graph,
        tensors=tuple(tensors),
        operators=tuple(operators),
        outputs=tuple(renamed.get(tensor, tensor) for tensor in outputs),
    )
    named = dict(zip(graph.outputs, new.outputs, strict=True))
    signatures = tuple(
        replace(signature, outputs=tuple((name, named.get(tensor, tensor)) for name, tensor in signature.outputs))
        for signature in model.signatures
    )
    return Unpaired(replace(model.with_graph(new), signatures=signatures), given, graph.outputs)


def _shaped_as(tensor: Tensor, other: Tensor) -> Tensor:
    return replace(tensor, shape=other.shape, shape_signature=other.shape_signature, has_rank=other.has_rank)


def _pairs(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Result of a QUANTIZE -> the results of the DEQUANTIZEs behind it."""
    pairs: dict[int, list[int]] = {}
    for position, operator in enumerate(graph.operators):
        where = f"operator {position} ({operator.name})"
        counts = sum(tensor >= 0 for tensor in operator.inputs), len(operator.outputs)
        if operator.name in CONVERSIONS and counts != (1, 1):
            raise NotQuantizable(f"{where}: it must have one input and one output")
        if operator.name == "QUANTIZE":
            _check_quantize(graph, operator, where)
            pairs[operator.outputs[0]] = []
        elif operator.name == "DEQUANTIZE":
            if operator.inputs[0] not in pairs:
                raise NotQuantizable(f"{where}: no QUANTIZE stands before it; the model is quantized already")
            pairs[operator.inputs[0]].append(operator.outputs[0])
        elif operator.name == FAKE_QUANT:
            raise NotQuantizable(f"{where}: fake quantization as an operator of its own; the converter writes pairs")
        else:
            read = [tensor for tensor in operator.inputs if tensor in pairs]
            if read:
                raise NotQuantizable(
                    f"{where}: it reads integers, {called(graph.tensors[read[0]].name)}; the model is quantized already"
                )
    for output in graph.outputs:
        if output in pairs:
            raise NotQuantizable(
                f"output {called(graph.tensors[output].name)} is not float32; the model is quantized already"
            )
    for index, tensor in enumerate(graph.tensors):
        if index not in pairs and tensor.quantization is not None and tensor.quantization.scale:
            raise NotQuantizable(f"tensor {called(tensor.name)} is quantized already; give the float model")
    return {quantized: tuple(results) for quantized, results in pairs.items()}


def _check_quantize(graph: Graph, operator: Operator, where: str) -> None:
    source, result = graph.tensors[operator.inputs[0]], graph.tensors[operator.outputs[0]]
    if source.type != "FLOAT32":
        raise NotQuantizable(
            f"{where}: {called(source.name)} is {source.type} before it; the model is quantized already"
        )
    if result.type not in EIGHT_BITS:
        raise NotQuantizable(
            f"{where}: {called(result.name)} is {result.type}; only fake quantization of 5 to 8 bits, UINT8, becomes "
            "int8"
        )
    if result.quantization is None or not result.quantization.scale:
        raise NotQuantizable(f"{where}: {called(result.name)} has no scale")


def _quantized_outputs(graph: Graph, pairs: Mapping[int, tuple[int, ...]]) -> tuple[int, ...]:
    """The graph's outputs; one at which one pair stands is given out behind that pair."""
    quantized: dict[int, list[int]] = {}
    for operator in graph.operators:
        if operator.name == "QUANTIZE" and pairs[operator.outputs[0]]:
            quantized.setdefault(operator.inputs[0], []).append(pairs[operator.outputs[0]][0])
    return tuple(quantized[t][0] if len(quantized.get(t, ())) == 1 else t for t in graph.outputs)
