"""The packages of the environment that runs the tests, as `pip freeze` would list them."""

import subprocess
import sys

LIST = """
from importlib import metadata
found = {(each.metadata["Name"], each.version, each.locate_file("")) for each in metadata.distributions()}
print("\\n".join(sorted(" ".join(map(str, each)) for each in found)))
"""


def frozen() -> list[str]:
    """Name, version and folder of every package, found by a process of its own."""
    done = subprocess.run([sys.executable, "-I", "-c", LIST], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()
