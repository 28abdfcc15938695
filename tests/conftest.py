"""Lets test modules import their helpers by name, and keeps property tests free of time limits."""

import os
import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

# A busy machine is no failure. CI draws the same examples every time; elsewhere each run draws new ones.
settings.register_profile("refquant", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("refquant")
