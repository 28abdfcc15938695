"""The versions of ops: the table is LiteRT's, row by row, and a file with another version is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import oracle
import refquant
from models import T, one_op
from refquant.errors import UnsupportedModel
from refquant.kernels.table import KERNELS
from refquant.kernels.versions import HIGHEST, LOWEST, VERSIONS
from refquant.model import write_model
from refquant.model.graph import Graph, Model, Operator, Tensor

UNREGISTERED = {"CEIL", "ELU", "ROUND", "SEGMENT_SUM"}  # BUILTIN_REF knows no version of them


def test_every_op_is_in_one_row() -> None:
    assert sum(map(len, HIGHEST.values())) == len(VERSIONS)
    assert set(LOWEST) <= set(VERSIONS)


def test_every_op_with_a_kernel_has_a_row() -> None:
    assert set(KERNELS) - set(VERSIONS) <= UNREGISTERED


@pytest.mark.skipif(not oracle.INSTALLED, reason=oracle.MISSING)
def test_litert_knows_these_versions_and_no_others() -> None:
    """It looks for the kernels of a file's ops before it looks at anything else of an operator."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    def known(op: str, version: int) -> bool:
        tensors = Tensor("x", "FLOAT32", (1,)), Tensor("y", "FLOAT32", (1,))
        model = Model((Graph(tensors, (Operator(op, (0,), (1,), version),), (0,), (1,)),), (b"",))
        try:
            Interpreter(model_content=write_model(model), experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        except ValueError as error:
            if "Didn't find op for builtin opcode" not in str(error):
                raise
            return False
        return True

    for op, (lowest, highest) in VERSIONS.items():
        tried = sorted({0, lowest - 1, lowest, highest, highest + 1})
        assert [known(op, version) for version in tried] == [lowest <= version <= highest for version in tried], op
    assert not any(known(op, 1) for op in UNREGISTERED)


def test_another_version_is_refused_also_where_it_never_runs() -> None:
    model = one_op("RELU", [T((1, 4), scale=1.0)], [T((1, 4), scale=1.0)])
    (operator,) = model.graph.operators
    newer = model.with_graph(replace(model.graph, operators=(replace(operator, version=4),)))
    told = r"operator 0 \(RELU\): it has version 4, but LiteRT knows versions 1 to 3, and refuses the file"
    with pytest.raises(UnsupportedModel, match="subgraph 0, " + told):
        refquant.run(newer, np.zeros((1, 4), np.int8))
    beside = replace(model, graphs=(model.graph, newer.graph))
    with pytest.raises(UnsupportedModel, match="subgraph 1, " + told):
        refquant.Interpreter(model_content=beside.to_bytes()).allocate_tensors()
