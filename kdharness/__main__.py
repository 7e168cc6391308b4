"""The `kdharness` command, also as `python -m kdharness`."""

from kdharness.core.cycles import exempt_all, search_rarely


def main() -> None:
    """Run the command line.

    Python's search for cycles goes over all that imports leave, while they go on and once more before it ends: with
    torch a third of what a command or a job takes that does nothing else.
    """
    search_rarely()
    from kdharness.cli.app import main as command_line

    try:
        command_line()
    finally:
        exempt_all()


if __name__ == "__main__":
    main()
