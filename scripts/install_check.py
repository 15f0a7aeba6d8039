"""Exit 0 when the virtual environment has all that setup.cfg asks for: then nothing is fetched.

python scripts/install_check.py run [fast] [test] [lint] [bench]
"""

import configparser
import sys
from importlib import metadata
from pathlib import Path

# pip brings the library that reads requirements, so that this needs nothing else.
from pip._vendor.packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def wanted(purpose: str) -> list[Requirement]:
    """The requirements of the package itself (``run``) or of one of its extras, but for those of other machines.

    A purpose that has no extra wants nothing.
    """
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    text = parser["options"]["install_requires"]
    if purpose != "run":
        text += parser["options.extras_require"].get(purpose, "")
    found = [Requirement(line) for line in text.split("\n") if line.strip()]
    return [need for need in found if need.marker is None or need.marker.evaluate()]


def satisfied(requirement: Requirement) -> bool:
    """Whether a version that fits is installed."""
    try:
        return metadata.version(requirement.name) in requirement.specifier
    except metadata.PackageNotFoundError:
        return False


def command_is_ours() -> bool:
    """Whether the ``worker`` command is there and imports this folder's package."""
    import worker

    command = Path(sys.executable).with_name("worker")
    return command.exists() and Path(worker.__file__ or "").resolve().parent == ROOT / "worker"


def main(purposes: list[str]) -> int:
    """0 when nothing is missing."""
    try:
        metadata.version("nightfeed")
        complete = command_is_ours() and all(satisfied(need) for purpose in purposes for need in wanted(purpose))
    except (ImportError, metadata.PackageNotFoundError):
        complete = False
    return 0 if complete else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
