"""Which operators a delegate computes as one: they run in the same partition of the graph, one after the other.

LiteRT cuts a graph into partitions that take turns, one of the delegate, one of the kernels: each takes in all
operators of its kind whose inputs are there.
Source: tflite/graph_info.cc, PartitionGraphIntoIndependentNodeSubsetsImpl.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from refquant.model.graph import Graph
from refquant.program.steps import ControlStep, Program, Step
from refquant.runtimes.runtime import Delegate, Fusion


@dataclass(frozen=True, slots=True)
class Partitions:
    """The partitions of a graph whose operators are prepared one by one.

    `readers`: how many operators read a tensor, one more for an output of the graph; `numbers`: tensor -> the partition
    that computes it; `makers`: tensor -> the operator that does.
    """

    delegate: Delegate
    readers: Mapping[int, int]
    numbers: Mapping[int, int]
    makers: Mapping[int, Step]

    def fused(self, step: Step) -> Step:
        """An operator of the graph, together with what it is computed as one with."""
        for fusion in self.delegate.fusions if step.delegate else ():
            step = self._joined(fusion, step)
        return step

    def _joined(self, fusion: Fusion, step: Step) -> Step:
        if step.node.op not in fusion.kernels or fusion.slot >= len(step.inputs):
            return step
        between = step.inputs[fusion.slot]
        maker = self.makers.get(between)
        if maker is None or not maker.delegate or maker.node.op not in fusion.producers:
            return step
        if self.numbers[between] != self.numbers[step.outputs[0]] or (fusion.alone and self.readers[between] > 1):
            return step
        node = fusion.joined(maker.node, step.node)
        if node is None:
            return step
        inputs = [*step.inputs]
        inputs[fusion.slot] = maker.inputs[0]
        return replace(step, node=node, kernel=fusion.kernels[step.node.op], inputs=tuple(inputs))


def is_fused(program: Program) -> bool:
    """Whether a step of the program reads what another operator of the graph does."""
    pairs = zip(program.steps, program.graph.operators, strict=True)
    return any(step.inputs != operator.inputs for step, operator in pairs)


def partitions_of(steps: Sequence[Step | ControlStep], graph: Graph, delegate: Delegate) -> Partitions | None:
    """Those of a graph; None if no operators of it are computed as one."""
    readers = Counter(index for operator in graph.operators for index in {*operator.inputs})
    readers.update(graph.outputs)
    makers = {index: step for step in steps if isinstance(step, Step) for index in step.outputs}
    partitions = Partitions(delegate, readers, _numbers(steps, delegate), makers)
    fused = any(partitions.fused(step) is not step for step in steps if isinstance(step, Step))
    return partitions if fused else None


def _numbers(steps: Sequence[Step | ControlStep], delegate: Delegate) -> dict[int, int]:
    """Tensor -> the number of the partition that computes it, from 0."""
    unpacked = [isinstance(step, Step) and delegate.unpacks(step.node) for step in steps]
    delegated = [isinstance(step, Step) and step.delegate != "" for step in steps]
    left = {
        index
        for step, is_unpacked, is_delegated in zip(steps, unpacked, delegated, strict=True)
        if not is_unpacked and not is_delegated
        for index in step.inputs
    }
    numbers: dict[int, int] = {}
    first = None
    for step, is_unpacked, is_delegated in zip(steps, unpacked, delegated, strict=True):
        taken = not left & {*step.outputs} if is_unpacked else is_delegated
        first = taken if first is None else first
        number = max((numbers.get(index, 0) for index in step.inputs), default=0)
        number += (number % 2 == 0) != (taken == first)
        numbers.update(dict.fromkeys(step.outputs, number))
    return numbers
