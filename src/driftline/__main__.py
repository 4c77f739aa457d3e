"""`python -m driftline` is the command line."""

from driftline.cli import main

main()
