"""Writes the parts of the documentation that the code knows: docs/keys.md and the settings in the README.

python scripts/docs.py            write them
python scripts/docs.py --check    exit 1 when they differ from the code
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from worker.cli import config, keys

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- settings: printed by `worker config --markdown` -->", "<!-- end of settings -->"
KEYS_HEAD = "# The keyspace\n\nPrinted by `worker keys` from its one definition, `worker/keyspace.json`.\n\n"


def generated() -> dict[Path, str]:
    """Each file with generated parts, as it should be."""
    readme = ROOT / "README.md"
    head, rest = readme.read_text().split(BEGIN)
    tail = rest.split(END)[1]
    return {
        readme: f"{head}{BEGIN}\n\n{config.table()}\n\n{END}{tail}",
        ROOT / "docs/keys.md": f"{KEYS_HEAD}{keys.table()}\n",
    }


def main() -> int:
    """Write, or compare."""
    parser = argparse.ArgumentParser(description="Write the generated parts of the documentation.")
    parser.add_argument("--check", action="store_true", help="only compare; exit 1 when something differs")
    check = parser.parse_args().check
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if not check:
        for path, text in generated().items():
            path.write_text(text)
    elif stale:
        names = ", ".join(str(path.relative_to(ROOT)) for path in stale)
        print(f"{names}: differ from the code; run python scripts/docs.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
