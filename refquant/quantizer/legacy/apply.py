"""Apply: a Decision and the float model -> the new model. Nothing is decided here.

Tensors keep their indices; those that the quantizer added stand behind them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from refquant.model.graph import Model
from refquant.quantizer.legacy.arithmetic import rewritten
from refquant.quantizer.legacy.decision import Decision


def apply(model: Model, decision: Decision) -> Model:
    """The model that the decision describes: constants rewritten in their buffers, all else as planned."""
    plan, tensors, buffers = decision.plan, list(decision.plan.graph.tensors), list(model.buffers)
    for index in plan.duplicates:
        buffers.append(model.buffers[tensors[index].buffer])
        tensors[index] = replace(tensors[index], buffer=len(buffers) - 1)
    for index, rules in plan.rewritings.items():
        source = model.buffers[plan.graph.tensors[index].buffer]
        values = np.frombuffer(source, "<f4").reshape(tensors[index].shape)
        integers = rewritten(values, rules)
        buffers[tensors[index].buffer] = integers.astype(integers.dtype.newbyteorder("<")).tobytes()
    graph = replace(plan.graph, tensors=tuple(tensors))
    return replace(model, graphs=(graph,), buffers=tuple(buffers), signatures=plan.signatures)
