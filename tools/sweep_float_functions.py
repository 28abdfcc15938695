"""Compares refquant's float functions with this machine's C library on all 2^32 float32 values.

    python tools/sweep_float_functions.py [expf logf expm1f tanhf erff erfcf]

Needs a C compiler (cc). Takes 2 to 15 minutes a function on one core. NaNs count as equal.
"""

from __future__ import annotations

import ctypes
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from refquant.arithmetic import float_functions

NAMES = ("expf", "logf", "expm1f", "tanhf", "erff", "erfcf")
BLOCK = 1 << 18
SOURCE = "#include <math.h>\n" + "".join(
    f"void all_{name}(const float *x, float *y, long n) {{ for (long i = 0; i < n; ++i) y[i] = {name}(x[i]); }}\n"
    for name in NAMES
)


def build(folder: Path) -> ctypes.CDLL:
    """The C library's functions on whole arrays."""
    (folder / "all.c").write_text(SOURCE)
    library = folder / "all.so"
    flags = ["-O1", "-fno-builtin", "-shared", "-fPIC"]
    subprocess.run(["cc", *flags, str(folder / "all.c"), "-o", str(library), "-lm"], check=True)
    return ctypes.CDLL(str(library))


def differing(library: ctypes.CDLL, name: str) -> tuple[int, list[float]]:
    """(how many of all float32 inputs give another result, the first few of them)"""
    count, examples = 0, []
    want = np.empty(BLOCK, np.float32)
    for start in range(0, 1 << 32, BLOCK):
        x = np.arange(start, start + BLOCK, dtype=np.uint32).view(np.float32)
        got = getattr(float_functions, name)(x)
        getattr(library, f"all_{name}")(
            ctypes.c_void_p(x.ctypes.data), ctypes.c_void_p(want.ctypes.data), ctypes.c_long(BLOCK)
        )
        bad = got.view(np.uint32) != want.view(np.uint32)
        if bad.any():
            bad &= ~(np.isnan(got) & np.isnan(want))
            count += int(bad.sum())
            examples += x[bad][: max(0, 5 - len(examples))].tolist()
    return count, examples


def main() -> None:
    print("C library:", *platform.libc_ver())
    with tempfile.TemporaryDirectory() as folder:
        library = build(Path(folder))
        for name in sys.argv[1:] or NAMES:
            count, examples = differing(library, name)
            print(f"{name}: {count} of 2^32 differ", examples or "", flush=True)


if __name__ == "__main__":
    main()
