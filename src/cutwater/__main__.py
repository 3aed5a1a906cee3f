"""`python -m cutwater` is the command."""

from cutwater.cli.app import main

main()
