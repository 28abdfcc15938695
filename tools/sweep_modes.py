"""Asks TensorFlow for dynamic range and float16 of every model of tests/converter_modes.py, and of random graphs.

    python tools/sweep_modes.py --graphs 300            # all named models, all modes, then so many random graphs

Prints a line per model and what differs; exits with 1 if anything does. Needs the extras tensorflow and test; the
application networks take minutes each.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))


def main() -> int:
    """Exit code 1 if a file differs or runs differently."""
    import converter_modes
    from converter_oracle import converter
    from modes_check import ALL_MODES, conversions, fault, run_faults
    from oracle import Crashed, Rejected

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graphs", type=int, default=300, help="random graphs")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--names", nargs="*", default=list(converter_modes.MODELS), help="named models")
    parser.add_argument("--run", action="store_true", help="run the files in LiteRT and in refquant, too")
    arguments = parser.parse_args()
    work = [(name, None) for name in arguments.names]
    work += [("random", [arguments.seed, number]) for number in range(arguments.graphs)]
    files = differing = 0
    for name, seed in work:
        label = name if seed is None else f"{name} {seed}"
        try:
            answers = conversions(name, ALL_MODES, seed)
        except (Rejected, Crashed) as error:
            print(f"{label}: TensorFlow: {' '.join(str(error).split())[:200]}")
            continue
        for converted in answers:
            found = fault(converted)
            if not found and arguments.run:
                found = run_faults(converted, np.random.default_rng(1))
            files += 1
            differing += bool(found)
            if found:
                print(f"{label}, {converted.mode}: {found}")
        if seed is None:
            print(f"{label}: {len(answers[0].model.graph.operators)} operators, {len(answers)} modes", flush=True)
    converter.close()
    print(f"{files} files, {differing} differing")
    return 1 if differing else 0


if __name__ == "__main__":
    raise SystemExit(main())
