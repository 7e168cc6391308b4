"""`python -m kdharness` is the console script."""

from kdharness.cli.app import main

main()
