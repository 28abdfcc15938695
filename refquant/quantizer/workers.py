"""Blocks of samples on a concurrent.futures.Executor: threads, processes, or the machines of a cluster.

The model goes along with the first blocks only; a worker keeps it, and says so if it lacks it. Results come back in the
order of the blocks, so that errors and warnings are those of a run without workers; a block is read only when the one
`in_flight` before it is done.
"""

from __future__ import annotations

import pickle
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass
from threading import Lock

from refquant.errors import InvalidInput, RefquantError
from refquant.model import read_model
from refquant.model.graph import Model
from refquant.quantizer.engines import Engine, engine_named
from refquant.quantizer.in_place import Memory
from refquant.quantizer.observe import Estimator, Observed
from refquant.quantizer.samples import Block

KEPT_ENGINES = 2  # of other calibrations' that a worker keeps


@dataclass(slots=True)
class _Sent:
    """A block on its way. The future's result is None if the worker lacked the model."""

    block: Block
    memory: Memory
    future: Future[Observed | None]

    @property
    def lacks_model(self) -> bool:
        done = self.future.done() and not self.future.cancelled() and self.future.exception() is None
        return done and self.future.result() is None


def run_on(
    executor: Executor,
    engine: Engine,
    recipe: tuple[str, Model, Estimator],
    tasks: Iterator[tuple[Block, Memory]],
    in_flight: int,
) -> Generator[tuple[Block, Observed], None, None]:
    """(block, what it showed) in the order of the tasks. engine: this process's own, which threads may use.

    recipe: (name of the engine, model, estimator), from which other processes make theirs.
    Errors: what a worker raises, once the blocks before are handed out; RefquantError if a worker ends.
    """
    name, model, estimator = recipe
    token, payload = secrets.token_hex(8), pickle.dumps((name, model.to_bytes(), estimator))
    waiting: deque[_Sent] = deque()
    failure: RefquantError | None = None
    sent, more = 0, True

    def send(block: Block, memory: Memory, with_model: bool) -> Future[Observed | None]:
        try:
            return executor.submit(run_block, token, payload if with_model else None, block, memory)
        except RuntimeError as error:
            raise InvalidInput(f"the executor takes no work: {error}") from None

    _OWN[token] = engine
    try:
        while True:
            while more and len(waiting) < in_flight:
                try:
                    block, memory = next(tasks)
                except StopIteration:
                    more = False
                except RefquantError as error:
                    failure, more = error, False
                else:
                    waiting.append(_Sent(block, memory, send(block, memory, sent < in_flight)))
                    sent += 1
            if not waiting:
                break
            _wait_for_first(waiting, send)
            first = waiting.popleft()
            yield first.block, _result(first)
        if failure is not None:
            raise failure
    finally:
        wait([entry.future for entry in waiting if not entry.future.cancel()])
        _OWN.pop(token)


def _wait_for_first(waiting: Sequence[_Sent], send: Callable[[Block, Memory, bool], Future[Observed | None]]) -> None:
    """Returns when the first block's result is there; meanwhile, what came back for want of the model is sent again."""
    while not waiting[0].future.done() or waiting[0].lacks_model:
        for entry in waiting:
            if entry.lacks_model:
                entry.future = send(entry.block, entry.memory, True)
        wait([entry.future for entry in waiting if not entry.future.done()], return_when=FIRST_COMPLETED)


def _result(sent: _Sent) -> Observed:
    block = sent.block
    where = f"samples {block.first} to {block.first + block.count - 1}"
    try:
        observed = sent.future.result()
    except RefquantError:
        raise
    except BrokenExecutor as error:
        raise RefquantError(f"{where}: a worker of the executor ended: {error}") from None
    except Exception as error:  # whatever the executor raises
        raise RefquantError(f"{where}: the executor failed: {type(error).__name__}: {error}") from None
    assert observed is not None
    return observed


# in a worker

_OWN: dict[str, Engine] = {}  # of calibrations that run in this process
_MADE: dict[str, Engine] = {}  # of calibrations that run elsewhere
_lock = Lock()


def run_block(token: str, payload: bytes | None, block: Block, memory: Memory) -> Observed | None:
    """What the block shows; None if this process lacks the model that the token stands for."""
    engine = _OWN.get(token) or _made(token, payload)
    return None if engine is None else engine.run(block, memory)


def _made(token: str, payload: bytes | None) -> Engine | None:
    with _lock:
        if token not in _MADE and payload is not None:
            name, data, estimator = pickle.loads(payload)
            while len(_MADE) >= KEPT_ENGINES:
                _MADE.pop(next(iter(_MADE))).close()
            _MADE[token] = engine_named(name)(read_model(data), estimator)
        return _MADE.get(token)
