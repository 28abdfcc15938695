"""How a model is prepared and run: prepare once (decode, check, compute multipliers) -> steps -> run on arrays."""

from refquant.program.execution import execute, run_graph
from refquant.program.fusion import is_fused
from refquant.program.inputs import Inputs, ModelLike, as_array, as_model, check_array, named_inputs, split_samples
from refquant.program.preparation import narrow_named, prepare
from refquant.program.running import block_size, run, run_all_tensors, run_program
from refquant.program.session import Session, keeper
from refquant.program.state import State, new_state
from refquant.program.steps import ControlStep, Program, Step, Value

__all__ = [
    "ControlStep",
    "Inputs",
    "ModelLike",
    "Program",
    "Session",
    "State",
    "Step",
    "Value",
    "as_array",
    "as_model",
    "block_size",
    "check_array",
    "execute",
    "is_fused",
    "keeper",
    "named_inputs",
    "narrow_named",
    "new_state",
    "prepare",
    "run",
    "run_all_tensors",
    "run_graph",
    "run_program",
    "split_samples",
]
