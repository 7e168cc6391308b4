"""Text that others wrote, as it may go to a terminal."""

import re

_STEERING = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def printable(text: str) -> str:
    """The text with every control character but newline and tab written out: an escape code moves no cursor."""
    return _STEERING.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
