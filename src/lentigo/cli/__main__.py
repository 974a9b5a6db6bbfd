"""`python -m lentigo.cli`."""

from lentigo.cli import program

program()
