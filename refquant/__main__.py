"""`python -m refquant`: the command line."""

from refquant.cli import main

if __name__ == "__main__":  # not in the processes of --jobs
    main()
