"""The stack with a sample site in it: items with pictures, two months of visitors, a nightly run. `make demo` calls it.

python scripts/demo.py --run run --port 8080
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.stack import listens_on
from scripts.stack_render import ROOT, bracketed
from worker import config, credentials, tokens

ITEMS, USERS, SEED = 2400, 3000, 7
# A sample ends at the moment it was made: within this time a repeated demo takes the same one, and nothing is doubled.
SAMPLE_SECONDS = 3600
DAYS = 60


class Demo:
    """One run directory's demo: where its files are, and the environment of its commands."""

    def __init__(self, run: Path, port: str | None) -> None:
        self.run = run
        self.folder = run / "demo"
        self.items, self.events = self.folder / "items.ndjson", self.folder / "events.ndjson"
        self.cast = self.folder / "cast.json"
        self.environ = {**os.environ, "NIGHTFEED_RUN": str(run), **({"NIGHTFEED_PORT": port} if port else {})}

    def script(self, name: str, *args: str) -> None:
        """A script of this project, with this Python."""
        self._call([sys.executable, str(ROOT / "scripts" / name), *args])

    def worker(self, *args: str) -> None:
        """The ``worker`` command on this stack."""
        self._call([str(Path(sys.executable).with_name("worker")), *args])

    def _call(self, command: list[str]) -> None:
        done = subprocess.run(command, env=self.environ, check=False)
        if done.returncode != 0:
            raise SystemExit(f"demo: this failed with exit code {done.returncode}: {' '.join(command)}")

    def sample_is_fresh(self) -> bool:
        """Whether a whole sample lies here that was made within the last hour."""
        made = (self.items, self.events, self.cast)
        return all(path.exists() and time.time() - path.stat().st_mtime < SAMPLE_SECONDS for path in made)

    def make_sample(self) -> None:
        """Items with their pictures, then what visitors did with them."""
        pictures = self.folder / "pictures"
        self.script("sample/catalogue.py", "--items", str(ITEMS), "--seed", str(SEED),
                    "--pictures", str(pictures), "--out", str(self.items))  # fmt: skip
        draft = self.events.with_suffix(".draft")
        self.script("sample/visitors.py", "--catalogue", str(self.items), "--users", str(USERS), "--days", str(DAYS),
                    "--seed", str(SEED), "--people", str(self.cast), "--out", str(draft))  # fmt: skip
        draft.replace(self.events)

    def publish_people(self) -> None:
        """Write people.json, from which the demo page takes its visitors, with a token for each."""
        keyring = credentials.load(self.run).keyring
        now = int(time.time())
        people = [{**person, "token": tokens.sign(keyring, person["user"], now)}
                  for person in json.loads(self.cast.read_text())["people"]]
        draft = self.folder / "people.draft"
        draft.unlink(missing_ok=True)
        draft.touch(mode=0o600)  # it holds tokens
        draft.write_text(json.dumps({"people": people}, indent=1) + "\n")
        draft.replace(self.folder / "people.json")


@contextmanager
def step(number: int, what: str) -> Iterator[None]:
    """Says what happens and how long it took."""
    print(f"[{number}/6] {what} …", flush=True)
    began = time.monotonic()
    yield
    print(f"      {time.monotonic() - began:.1f} s", flush=True)


def make(demo: Demo) -> None:
    """Every step of the demo, in order; each may be repeated."""
    with step(1, "starting the stack"):
        demo.script("stack.py", "up", "--run", str(demo.run))
    if demo.sample_is_fresh():
        print("[2/6] the sample of the last hour is used again")
    else:
        with step(2, f"writing {ITEMS} items with pictures, and {DAYS} days of {USERS} visitors"):
            demo.make_sample()
    with step(3, "importing the items"):
        demo.worker("items", "import", str(demo.items))
    with step(4, "importing what the visitors did"):
        demo.worker("events", "import", str(demo.events))
    with step(5, "the nightly run: scoring everything, a list for everyone"):
        demo.worker("nightly")
    with step(6, "tokens for a few visitors"):
        demo.publish_people()


def main(argv: list[str] | None = None) -> int:
    """The command line; 0 when the demo is ready."""
    parser = argparse.ArgumentParser(description="Start the stack with a sample site in it.")
    parser.add_argument("--run", type=Path, default=config.run_directory())
    parser.add_argument("--port", help="port of the edge, over the configured one")
    options = parser.parse_args(argv)
    demo = Demo(options.run.absolute(), options.port)
    os.umask(0o027)
    make(demo)
    listen, port = listens_on(demo.run)
    host = "127.0.0.1" if listen in ("0.0.0.0", "::") else listen
    person = json.loads(demo.cast.read_text())["people"][0]
    page = f"http://{bracketed(host)}:{port}/demo"
    where = "" if demo.run == Path("run").absolute() else f" RUN={demo.run}"
    print(f"\nOpen in a browser:\n  {page}?as={person['user']}   ({person['label']})\n  {page}   (a new visitor)\n"
          f"`make down{where}` ends it.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
