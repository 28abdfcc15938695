"""Lets test modules import their helpers by name, and keeps property tests free of time limits."""

import sys
from pathlib import Path

from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent))

settings.register_profile("refquant", deadline=None)  # a busy machine is no failure
settings.load_profile("refquant")
