"""An interpreter with the methods and dictionaries of the LiteRT Interpreter.

Source: google-ai-edge/LiteRT, tflite/python/interpreter.py; compared with LiteRT 2.3.0's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refquant.errors import InvalidInput
from refquant.model.graph import Array
from refquant.program import Session, as_array, as_model, keeper, narrow_named, new_state
from refquant.runtimes import runtime_named


class Interpreter:
    """Runs one model in one runtime's arithmetic.

    model_path or model_content: the `.tflite` file, or its bytes. runtime: a name of `refquant.runtimes.RUNTIMES`.
    experimental_preserve_all_tensors: keep every tensor readable, not only inputs, outputs and constants; under
    "xnnpack" float results may then be others, as LiteRT's are (see runtimes/xnnpack_fusions.py).
    overflow: "wrap" as the runtime does, or "error".
    """

    def __init__(
        self,
        model_path: str | Path | None = None,
        model_content: bytes | None = None,
        *,
        runtime: str = "tflite_ref",
        experimental_preserve_all_tensors: bool = False,
        num_threads: int | None = None,  # LiteRT's; accepted, and without effect: no result depends on it
        overflow: str = "wrap",
    ) -> None:
        if (model_path is None) == (model_content is None):
            raise InvalidInput("give either model_path or model_content")
        if model_content is not None and not isinstance(model_content, bytes | bytearray | memoryview):
            raise InvalidInput(f"model_content must be bytes, not {type(model_content).__name__}")
        narrow_named(overflow)
        model = as_model(model_path if model_path is not None else bytes(model_content or b""))
        self._model = model
        self._preserve = experimental_preserve_all_tensors
        self._state = new_state(model)
        self._state.preserved = self._preserve
        self._sessions = [
            Session(model, runtime_named(runtime), overflow, self._state, index) for index in range(len(model.graphs))
        ]
        self._main = self._sessions[0]

    def allocate_tensors(self) -> None:
        """Prepares the model for the present input shapes, and if they have changed resets its variable tensors.

        Errors: InvalidModel, UnsupportedModel.
        """
        self._main.allocate()

    def invoke(self) -> None:
        """Runs the model on the inputs set; variables keep what it leaves in them."""
        self._invoke(self._main)

    def _invoke(self, session: Session) -> None:
        keep, finish = keeper(self._sessions, arrays=self._preserve)
        session.run(keep)
        finish()

    def set_tensor(self, tensor_index: int, value: Array) -> None:
        """Copies an array into an input or a variable tensor. InvalidInput for another dtype or shape."""
        self._main.set(tensor_index, value)

    def get_tensor(self, tensor_index: int, subgraph_index: int = 0) -> Array:
        """A copy of a tensor's value. An output has none before the first invoke (LiteRT gives what memory holds)."""
        return np.array(self._session(subgraph_index).value(tensor_index))

    def tensor(self, tensor_index: int) -> Callable[[], Array]:
        """A function that returns the tensor's present array itself, without a copy; an input's may be written to."""
        self._main.value(tensor_index)
        return lambda: self._main.value(tensor_index)

    def resize_tensor_input(self, input_index: int, tensor_size: Any, strict: bool = False) -> None:
        """Gives an input another shape; allocate_tensors must follow. strict: only dynamic dimensions may change."""
        self._main.resize(input_index, tensor_size, strict)

    def reset_all_variables(self) -> None:
        """Gives every variable tensor its first value: zero bytes, or its zero point if it is int8.

        Resource variables (ASSIGN_VARIABLE) stay as they are.
        """
        if any(tensor.is_variable for tensor in self._model.graph.tensors):
            self._main.allocated()
        self._state.reset_variables()

    def num_subgraphs(self) -> int:
        """How many subgraphs the model has."""
        return len(self._sessions)

    def get_input_details(self) -> list[dict[str, Any]]:
        """One dictionary per input, as the LiteRT Interpreter gives."""
        return [self._main.tensor_details(index) for index in self._main.graph.inputs]

    def get_output_details(self) -> list[dict[str, Any]]:
        """One dictionary per output, as the LiteRT Interpreter gives."""
        return [self._main.tensor_details(index) for index in self._main.graph.outputs]

    def get_tensor_details(self, subgraph_index: int = 0) -> list[dict[str, Any]]:
        """One dictionary per tensor of a subgraph, as the LiteRT Interpreter gives."""
        session = self._session(subgraph_index)
        return [session.tensor_details(index) for index in range(len(session.graph.tensors))]

    def _get_op_details(self, op_index: int) -> dict[str, Any]:
        """The dictionary of one operator of the main graph, as the LiteRT Interpreter gives."""
        operators = self._main.graph.operators
        if not isinstance(op_index, int | np.integer) or not 0 <= op_index < len(operators):
            raise InvalidInput(f"there is no operator {op_index}; the model has {len(operators)}")
        return self._main.operator_details(int(op_index))

    def _get_ops_details(self) -> list[dict[str, Any]]:
        """One dictionary per operator of the main graph, as the LiteRT Interpreter gives."""
        return [self._main.operator_details(index) for index in range(len(self._main.graph.operators))]

    def get_signature_list(self) -> dict[str, dict[str, list[str]]]:
        """{signature key: {"inputs": names, "outputs": names}}."""
        return {
            signature.key: {
                "inputs": sorted(name for name, _ in signature.inputs),
                "outputs": sorted(name for name, _ in signature.outputs),
            }
            for signature in self._model.signatures
        }

    def get_signature_runner(self, signature_key: str | None = None) -> SignatureRunner:
        """A callable for one signature, of whatever subgraph; the only one if no key is given."""
        signatures = {signature.key: signature for signature in self._model.signatures}
        if signature_key is None:
            if len(signatures) != 1:
                names = ", ".join(signatures) or "none"
                raise InvalidInput(f"the model has {len(signatures)} signatures; give the key of one: {names}")
            signature_key = next(iter(signatures))
        if signature_key not in signatures:
            raise InvalidInput(f"no signature '{signature_key}'; there are: {', '.join(signatures) or 'none'}")
        signature = signatures[signature_key]
        session = self._sessions[signature.subgraph]
        inputs, outputs = dict(sorted(signature.inputs)), dict(sorted(signature.outputs))
        return SignatureRunner(session, lambda: self._invoke(session), inputs, outputs)

    def _session(self, subgraph: int) -> Session:
        if not isinstance(subgraph, int | np.integer) or not 0 <= subgraph < len(self._sessions):
            raise InvalidInput(f"there is no subgraph {subgraph}; the model has {len(self._sessions)}")
        return self._sessions[subgraph]


class SignatureRunner:
    """Calls a subgraph by the names of one signature: runner(x=array) -> {output name: array}.

    All runners of one interpreter, and the interpreter itself, share its variables.
    """

    def __init__(
        self, session: Session, invoke: Callable[[], None], inputs: Mapping[str, int], outputs: Mapping[str, int]
    ) -> None:
        self._session, self._invoke, self._inputs, self._outputs = session, invoke, inputs, outputs

    def __call__(self, **arrays: Array) -> dict[str, Array]:
        """Runs the subgraph; every input by its signature name. Inputs of another shape resize it first."""
        if set(arrays) != set(self._inputs):
            raise InvalidInput(f"the signature takes {sorted(self._inputs)}, but {sorted(arrays)} were given")
        arrays = {name: as_array(array) for name, array in arrays.items()}
        for name, array in arrays.items():
            self._session.resize(self._inputs[name], array.shape, strict=False)
        self._session.allocate()
        for name, array in arrays.items():
            self._session.set(self._inputs[name], array)
        self._invoke()
        return {name: np.array(self._session.value(index)) for name, index in self._outputs.items()}

    def get_input_details(self) -> dict[str, dict[str, Any]]:
        """{input name: its details}."""
        return {name: self._session.tensor_details(index) for name, index in self._inputs.items()}

    def get_output_details(self) -> dict[str, dict[str, Any]]:
        """{output name: its details}."""
        return {name: self._session.tensor_details(index) for name, index in self._outputs.items()}
