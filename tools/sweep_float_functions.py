"""Compares refquant's float functions with this machine's C library.

    python tools/sweep_float_functions.py [expf logf expm1f tanhf erff erfcf sinf cosf powf atan2f] [--pairs MILLIONS]

Functions of one argument: all 2^32 float32 values. Functions of two: so many millions of pairs, drawn to be adversarial
(all bit patterns, results in every binade, arguments next to 1, exact powers, negative bases, the edges of overflow and
underflow). Needs a C compiler (cc). Takes 2 to 15 minutes a function on one core. NaNs count as equal.
"""

from __future__ import annotations

import argparse
import ctypes
import platform
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from refquant.arithmetic import float_functions, power, trigonometry

ONE_ARGUMENT: Mapping[str, Callable[[Any], np.ndarray]] = {
    "expf": float_functions.expf,
    "logf": float_functions.logf,
    "expm1f": float_functions.expm1f,
    "tanhf": float_functions.tanhf,
    "erff": float_functions.erff,
    "erfcf": float_functions.erfcf,
    "sinf": trigonometry.sinf,
    "cosf": trigonometry.cosf,
}
TWO_ARGUMENTS: Mapping[str, Callable[[Any, Any], np.ndarray]] = {
    "powf": power.powf,
    "atan2f": trigonometry.atan2f,
}
BLOCK = 1 << 18
SOURCE = "#include <math.h>\n" + "\n".join(
    [
        *(
            f"void all_{name}(const float *x, float *z, long n) {{ for (long i = 0; i < n; ++i) z[i] = {name}(x[i]); }}"
            for name in ONE_ARGUMENT
        ),
        *(
            f"void all_{name}(const float *x, const float *y, float *z, long n) "
            f"{{ for (long i = 0; i < n; ++i) z[i] = {name}(x[i], y[i]); }}"
            for name in TWO_ARGUMENTS
        ),
    ]
)
EDGES = (-150.0, -149.0, -126.0, 0.0, 128.0)  # of log2 of a power: zero, subnormal, normal, infinite


def build(folder: Path) -> ctypes.CDLL:
    """The C library's functions on whole arrays."""
    (folder / "all.c").write_text(SOURCE)
    library = folder / "all.so"
    flags = ["-O1", "-fno-builtin", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(folder / "all.c"), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def any_float(rng: np.random.Generator) -> np.ndarray:
    """BLOCK bit patterns."""
    return rng.integers(0, 1 << 32, BLOCK, dtype=np.uint64).astype(np.uint32).view(np.float32)


def bases(rng: np.random.Generator) -> np.ndarray:
    """BLOCK positive numbers: of any binade, within 1, next to 1, or a few bits long."""
    return np.select(
        [(kind := rng.integers(0, 4, BLOCK)) == 0, kind == 1, kind == 2],
        [
            np.exp2(rng.uniform(-149, 128, BLOCK)),
            np.exp2(rng.uniform(-3, 3, BLOCK)),
            1 + rng.choice([-1, 1], BLOCK) * np.exp2(rng.uniform(-24, -1, BLOCK)),
        ],
        rng.integers(1, 64, BLOCK) * np.exp2(rng.integers(-6, 7, BLOCK)),
    ).astype(np.float32)


def pairs(rng: np.random.Generator) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Blocks of pairs, one of each kind."""
    yield any_float(rng), any_float(rng)
    x = bases(rng)
    with np.errstate(divide="ignore", over="ignore"):
        logarithm = np.log2(x.astype(np.float64))
        yield x, (rng.uniform(-152, 130, BLOCK) / logarithm).astype(np.float32)
        edge = rng.choice(EDGES, BLOCK) + rng.normal(0, 1, BLOCK) * np.exp2(rng.uniform(-24, -1, BLOCK))
        yield x, (edge / logarithm).astype(np.float32)
    yield x * rng.choice([-1, 1], BLOCK).astype(np.float32), rng.integers(-40, 40, BLOCK).astype(np.float32)
    yield x, (rng.integers(-64, 64, BLOCK) / np.exp2(rng.integers(0, 5, BLOCK))).astype(np.float32)
    yield bases(rng) * rng.choice([-1, 1], BLOCK).astype(np.float32), bases(rng)


def blocks(name: str, millions: int) -> Iterator[tuple[np.ndarray, ...]]:
    """The arguments to compare, in blocks."""
    if name in ONE_ARGUMENT:
        for start in range(0, 1 << 32, BLOCK):
            yield (np.arange(start, start + BLOCK, dtype=np.uint32).view(np.float32),)
        return
    rng, done = np.random.default_rng(0), 0
    while done < millions * 1_000_000:
        for pair in pairs(rng):
            yield pair
            done += BLOCK


def differing(library: ctypes.CDLL, name: str, millions: int) -> tuple[int, int, list[tuple[float, ...]]]:
    """(how many arguments were compared, how many give another result, the first few of them)"""
    compared, count, examples = 0, 0, []
    want = np.empty(BLOCK, np.float32)
    function = {**ONE_ARGUMENT, **TWO_ARGUMENTS}[name]
    for arguments in blocks(name, millions):
        got = function(*arguments)
        addresses = [ctypes.c_void_p(array.ctypes.data) for array in (*arguments, want)]
        getattr(library, f"all_{name}")(*addresses, ctypes.c_long(BLOCK))
        compared += BLOCK
        bad = got.view(np.uint32) != want.view(np.uint32)
        if bad.any():
            bad &= ~(np.isnan(got) & np.isnan(want))
            count += int(bad.sum())
            chosen = [array[bad][: max(0, 5 - len(examples))].tolist() for array in arguments]
            examples += list(zip(*chosen, strict=True))
    return compared, count, examples


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*ONE_ARGUMENT, *TWO_ARGUMENTS]
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="name", help="default: all")
    parser.add_argument("--pairs", type=int, default=50, help="millions of pairs (default 50)")
    arguments = parser.parse_args()
    print("C library:", *platform.libc_ver())
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for name in arguments.names or names:
            compared, count, examples = differing(library, name, arguments.pairs)
            print(f"{name}: {count:,} of {compared:,} differ", examples or "", flush=True)


if __name__ == "__main__":
    main()
