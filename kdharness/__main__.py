"""The `kdharness` command, also as `python -m kdharness`."""

import gc
import sys

NEW_OBJECTS = 50_000
"""Between two searches for cycles, in place of Python's 700. A step of training leaves no cycle behind."""


def main() -> None:
    """Run the command line.

    Python's search for cycles goes over all that imports leave, while they go on and once more before it ends: with
    torch a third of what a command or a job takes that does nothing else.
    """
    gc.set_threshold(NEW_OBJECTS)
    from kdharness.cli.app import main as command_line

    try:
        command_line()
    finally:
        if "triton" not in sys.modules:  # which complains of whatever was not collected
            gc.freeze()


if __name__ == "__main__":
    main()
