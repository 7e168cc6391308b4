"""What processes of their own do in the tests of sides: a module that is loaded fast."""

import json
import os


def tunables():
    return os.environ.get("GLIBC_TUNABLES"), os.environ.get("OMP_NUM_THREADS")


def tell_environment(turn, path):
    """A side that writes down its environment, each time it has a round."""
    while turn.next_round():
        with open(path, "a") as file:
            file.write(json.dumps(tunables()) + "\n")


def die(turn):
    turn.next_round()
    os._exit(7)
