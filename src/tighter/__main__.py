"""python -m tighter."""

from tighter.cli import main

main()
