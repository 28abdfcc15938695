"""What `refquant compare --json` prints: plain dictionaries, every key of which stands in KEYS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from types import MappingProxyType
from typing import Any

from refquant.compare.differences import Difference, Element
from refquant.compare.explanations import Explained
from refquant.compare.runs import OperatorRow, OperatorRun, RunComparison, RuntimeRun

KEYS: Mapping[str, str] = MappingProxyType(
    {
        "format": '"refquant compare"',
        "version": "of the format; a change of meaning raises it",
        "equal": "every runtime ran, and no element of any operator or output differs from the base",
        "base": "the runtime that the others are compared with; of an element: its value there",
        "samples": "how many were run",
        "runtimes": "all that were asked for, in order",
        "name": "the runtime's; of an operator: its first output's; of a tensor: its own",
        "real": "whether it is installed, not described",
        "oracle": "package and version; of a described one, those on which it was proved",
        "error": 'why the model, or the operator alone, did not run; "": it did',
        "outputs": "the model's outputs against the base's; of an operator: its output tensors",
        "preserving": "its outputs while it keeps every tensor, against when it does not; null: none",
        "first_drift": "the first operator that differs end to end; null: none",
        "first_cause": "the first operator that differs when fed the base's inputs; null: none",
        "causes": "the operators that differ, by op, type and what explains them",
        "whole_cause": "output elements that the base gives alike when it computes with what explains; null: not tried",
        "op": "TFLite's name",
        "type": "of the kernel: INT8, or FLOAT32xINT8 where weights have another type",
        "words": 'the arithmetic that explains every element; "": none does',
        "instead_of": 'what the base has in its place; "": not known',
        "reason": 'why a real runtime is not described exactly there; "": not known',
        "operators": "of the model: all of its main graph; of a cause: their numbers",
        "operator": "its number in the main graph",
        "elements": "that were compared",
        "differing": "of these, bit for bit",
        "runs": "each runtime but the base",
        "runtime": 'its name; of an explanation: the described one that has it, "": none is known to',
        "drift": "against the base in runs of the whole model; null: the tensors are not shown",
        "cause": "against the base when fed the base's inputs; null: it does not run so",
        "delegated": 'the delegate that takes it; "": none, or not known',
        "explanations": "the described arithmetics nearest to it, the best first",
        "errata": "known wrong or unstable behaviour of such operators, which may be the reason",
        "largest": "the largest difference, in steps of integers, absolute of floats",
        "ulps": "the largest difference of floats in units of the last place; 0 for integers",
        "histogram": "[step, elements]; of floats: [bound of the distance in ulps, elements]",
        "first": "the first element that differs; null: none",
        "worst": "the farthest elements",
        "sample": "its number",
        "tensor": "the tensor's index in the main graph",
        "index": "the place in the tensor",
        "value": "the value in this runtime",
        "replaced": "names of the runtime's values in whose place others stand; kernel: the whole kernel",
        "equal_elements": "of the elements, equal under this arithmetic",
        "explained": "of those that differ from the base, equal under this arithmetic",
        "splits": "where the error against the float model comes from, for each runtime; empty without that model",
        "layers": "of a split: the tensors that both models compute, end to end and alone",
        "unpaired": "operators and weights that only one of the models has",
        "reading": "how to read the figures",
        "float_operator": "its number in the float model",
        "float_tensor": "the tensor's index in the float model",
        "output": "whether it is an output of the model",
        "end_to_end": "in runs of the whole models",
        "alone": "with the operator fed the float model's own tensors; null: it cannot be run so",
        "weights": "the error that the rounding of weights makes",
        "activations": "the error that the rounding of tensors makes",
        "arithmetic": "the error that the runtime makes",
        "total": "the error of all three",
        "sqnr_db": "10 log10(signal / error) of squares; null: no error, or no signal",
        "mean": "of the absolute error",
        "largest_steps": "the largest error in steps of the tensor's scale; null: it has not exactly one",
        "mean_steps": "the mean error in such steps",
        "key": "of an erratum",
        "what": "the erratum as a sentence",
        "versions": "in which it was found",
        "links": "where it is told",
    }
)


def run_record(comparison: RunComparison) -> dict[str, Any]:
    """Everything compare_runs found."""
    return {
        "format": "refquant compare",
        "version": 1,
        "equal": comparison.equal,
        "base": comparison.base,
        "samples": comparison.samples,
        "runtimes": [_runtime(run) for run in comparison.runtimes],
        "operators": [_operator(row) for row in comparison.operators],
        "splits": [asdict(split) for split in comparison.splits],
    }


def _record(value: Any, *without: str) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value) if field.name not in without}


def _runtime(run: RuntimeRun) -> dict[str, Any]:
    differences = {"outputs": _difference(run.outputs), "preserving": _difference(run.preserving)}
    return {**_record(run), **differences, "causes": [_record(cause) for cause in run.causes]}


def _operator(row: OperatorRow) -> dict[str, Any]:
    return {**_record(row), "runs": [_run(run) for run in row.runs]}


def _run(run: OperatorRun) -> dict[str, Any]:
    return {
        **_record(run),
        "drift": _difference(run.drift),
        "cause": _difference(run.cause),
        "explanations": [_explanation(explanation) for explanation in run.explanations],
        "errata": [
            {"key": e.key, "what": e.what, "runtime": e.runtime, "versions": e.versions, "links": e.links}
            for e in run.errata
        ],
    }


def _explanation(explanation: Explained) -> dict[str, Any]:
    return {**_record(explanation, "equal"), "equal_elements": explanation.equal}


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    first = None if difference.first is None else _element(difference.first)
    return {**_record(difference), "first": first, "worst": [_element(element) for element in difference.worst]}


def _element(element: Element) -> dict[str, Any]:
    return _record(element)
