"""Keras LSTM networks against TensorFlow's converter in every mode; prints one line for each.

python tools/sweep_recurrent.py [name ...]; needs the extras tensorflow and test.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from recurrent_networks import CONVERTED_MODES, NAMES
from test_quantizer_recurrent_oracle import check_network


def main() -> None:
    """The command line."""
    for name in sys.argv[1:] or NAMES:
        check_network(name, CONVERTED_MODES[1:])
        print(f"{name}: ranges equal; int8, legacy int8 and int16x8 equal in every slot", flush=True)


if __name__ == "__main__":
    main()
