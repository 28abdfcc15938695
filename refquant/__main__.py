"""`python -m refquant`: the command line."""

from refquant.cli import main

main()
