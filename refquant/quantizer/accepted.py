"""What the quantizers take: a float model, of one subgraph where they know of no calls, with signatures that hold."""

from __future__ import annotations

from dataclasses import replace

from refquant.errors import NotQuantizable
from refquant.model.graph import Graph, Model
from refquant.quantizer.why import called

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")


def as_read(model: Model) -> Model:
    """The model without data of what a caller or an operator fills, which neither the converter nor a runtime reads.

    That is the data of graph inputs, and of results without elements, whose empty buffer is like an empty constant's.
    """
    graphs = []
    for graph in model.graphs:
        tensors = list(graph.tensors)
        computed = {index for operator in graph.operators for index in operator.outputs}
        empty = {index for index in computed if 0 in tensors[index].shape and not tensors[index].is_variable}
        for index in {*graph.inputs, *empty}:
            if tensors[index].buffer and (index in empty or model.buffers[tensors[index].buffer]):
                tensors[index] = replace(tensors[index], buffer=0)
        graphs.append(replace(graph, tensors=tuple(tensors)))
    return replace(model, graphs=tuple(graphs))


def check_one_graph(model: Model) -> None:
    """NotQuantizable for a model of several subgraphs."""
    if len(model.graphs) > 1:
        raise NotQuantizable(f"the model has {len(model.graphs)} subgraphs; only models of one are quantized")


def check_float(model: Model) -> None:
    """NotQuantizable, naming the place, for a model that is quantized, or of quantization-aware training.

    Also for one whose states are inputs or outputs, of which the converter knows nothing.
    """
    for graph in model.graphs:
        advice = "give the float model"
        if _is_paired(graph):
            advice = "mode 'qat' takes a model of quantization-aware training"
        for tensor in graph.tensors:
            if tensor.quantization is not None and tensor.quantization.scale:
                raise NotQuantizable(f"tensor {called(tensor.name)} is quantized already; {advice}")
        for position, operator in enumerate(graph.operators):
            if operator.name in CONVERSIONS:
                raise NotQuantizable(f"operator {position} ({operator.name}): the model is quantized; {advice}")
        for tensor in (graph.tensors[index] for index in (*graph.inputs, *graph.outputs)):
            if tensor.is_variable:
                raise NotQuantizable(f"{called(tensor.name)} is a variable tensor and an input or output at once")


def _is_paired(graph: Graph) -> bool:
    """Whether every DEQUANTIZE reads the result of a QUANTIZE, and there are any: fake quantization looks like that."""
    results = {index for operator in graph.operators if operator.name == "QUANTIZE" for index in operator.outputs}
    read = {index for operator in graph.operators if operator.name == "DEQUANTIZE" for index in operator.inputs}
    return bool(read) and read <= results


def check_signatures(model: Model) -> None:
    """NotQuantizable unless signatures name inputs and outputs of their subgraphs: of other tensors no form is kept."""
    for signature in model.signatures:
        graph = model.graphs[signature.subgraph]
        for kind, named, tensors in (
            ("input", signature.inputs, graph.inputs),
            ("output", signature.outputs, graph.outputs),
        ):
            for name, tensor in named:
                if tensor not in tensors:
                    raise NotQuantizable(
                        f"signature '{signature.key}': {kind} '{name}' is tensor {tensor}, which is no {kind} of "
                        f"subgraph {signature.subgraph}"
                    )
