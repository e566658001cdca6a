"""`python -m trm`, which torchrun starts as well."""

from trm.cli import main

main()
