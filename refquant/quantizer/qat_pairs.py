"""The float model of quantization-aware training without its QUANTIZE and DEQUANTIZE: what each pair stands at.

A converter writes a fake-quantization node as such a pair. A pair at a tensor that nothing else reads is a property of
that tensor. At any other tensor it becomes an operator, FAKE_QUANT, that stays in the graph until the end.
Source: google-ai-edge/LiteRT, tflite/converter/utils/fake_quant_utils.h (InsertTFLQuantOpsAfterTFFakeQuantOp) and
tflite/converter/transforms/prepare_quantize.cc (SanityCheckAndAdjustment); checked against TensorFlow 2.21.0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

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
    draft = _Draft(list(graph.tensors))
    readers = Counter(tensor for operator in graph.operators for tensor in operator.inputs) + Counter(outputs)
    constants = {index for index in range(len(graph.tensors)) if model.buffers[graph.tensors[index].buffer]}
    for operator in graph.operators:
        if operator.name == "QUANTIZE":
            draft.take_pair(operator, pairs[operator.outputs[0]], readers, constants)
        else:
            draft.take(operator)
    new = replace(
        graph,
        tensors=tuple(draft.tensors),
        operators=tuple(draft.operators),
        outputs=tuple(draft.now(tensor) for tensor in outputs),
    )
    named = dict(zip(graph.outputs, new.outputs, strict=True))
    signatures = tuple(
        replace(signature, outputs=tuple((name, named.get(tensor, tensor)) for name, tensor in signature.outputs))
        for signature in model.signatures
    )
    return Unpaired(replace(model.with_graph(new), signatures=signatures), draft.pairs, graph.outputs)


@dataclass(slots=True)
class _Draft:
    """The graph without pairs, in the making. `renamed`: result of a DEQUANTIZE -> the tensor that takes its place."""

    tensors: list[Tensor]
    operators: list[Operator] = field(default_factory=list)
    renamed: dict[int, int] = field(default_factory=dict)
    pairs: dict[int, tuple[int, int]] = field(default_factory=dict)

    def now(self, tensor: int) -> int:
        """The tensor that is read in place of another."""
        return self.renamed.get(tensor, tensor)

    def take(self, operator: Operator) -> None:
        """Any operator but QUANTIZE; of a DEQUANTIZE only the place stays."""
        inputs = tuple(self.now(tensor) for tensor in operator.inputs)
        self.operators.append(PLACE if operator.name == "DEQUANTIZE" else replace(operator, inputs=inputs))

    def take_pair(
        self, quantize: Operator, results: tuple[int, ...], readers: Counter[int], constants: set[int]
    ) -> None:
        """A QUANTIZE and the DEQUANTIZEs behind it, which give `results`; nothing is left of one without any."""
        source = quantize.inputs[0]
        made = PLACE
        if results:
            place = results[0]
            if source in constants:
                self.tensors[place] = self.tensors[source]
            elif readers[source] == 1 and source not in self.renamed:
                place = source
            else:
                source = self.now(source)
                self.tensors[place] = _shaped_as(self.tensors[place], self.tensors[source])
                made = Operator(FAKE_QUANT, (source,), (place,))
            self.renamed.update((result, place) for result in results)
            self.pairs[place] = quantize.outputs[0], results[0]
        self.operators.append(made)


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
