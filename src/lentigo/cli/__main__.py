"""`python -m lentigo.cli`."""

from lentigo.cli import main

main()
