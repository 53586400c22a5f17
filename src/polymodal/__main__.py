"""`python -m polymodal`."""

from polymodal.cli import main

main()
