"""Feed changed inputs to every parser of outside bytes and count how each one ended: `make fuzz`.

    python project/tests/fuzzing/run.py [--inputs 100000] [--seed 0] [--only TEXT] [--json FILE]

Each parser runs in a process of its own, so that one that ends the process is seen too; the run goes on behind the input
that did it. Ends with 1 where a parser ended with anything but its documented errors.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(REPOSITORY / "project")]
# A thread for each of a few rows costs more than the rows. Polars reads both when it is imported.
os.environ.setdefault("POLARS_MAX_THREADS", "1")
os.environ.setdefault("RUST_BACKTRACE", "0")

from tests.fuzzing.mutation import mutated  # noqa: E402
from tests.fuzzing.targets import Target, targets  # noqa: E402

MAX_SHOWN: Final = 5
BATCH: Final = 1_000
LONGEST_SECONDS: Final = 60.0
"""For one input, and for the start of a process; a parser that needs longer hangs."""
MEMORY: Final = Path("/dev/shm")
"""Where files are fed from if it is there: a disk's own time is not the parser's."""


@dataclass
class Tally:
    """How inputs of one parser ended; `faults` are the first few that were no documented error, by their seed."""

    name: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    crashed: int = 0
    ended_process: int = 0
    seconds: float = 0.0
    slowest_seconds: float = 0.0
    faults: list[str] = field(default_factory=list)


def feed_many(target: Target, seeds: range, folder: Path, tell: Connection | None = None) -> Tally:
    """Feed the inputs of these seeds in this process; `tell` gets each seed before it is fed."""
    tally, kinds = Tally(target.name), Counter[str]()
    feed = target.prepare(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            data = mutated(target.samples, random.Random(f"{target.name} {seed}"))
            if tell is not None:
                tell.send(seed)
            begun = time.perf_counter()
            try:
                feed(data)
                tally.accepted += 1
            except target.allowed:
                tally.refused += 1
            except KeyboardInterrupt:
                raise
            except BaseException as fault:  # noqa: BLE001 - a panic of Polars is no Exception
                tally.crashed += 1
                where = traceback.extract_tb(fault.__traceback__)[-1]
                kind = f"{type(fault).__name__} at {Path(where.filename).name}:{where.lineno}"
                kinds[kind] += 1
                if kinds[kind] == 1 and len(tally.faults) < MAX_SHOWN:
                    ours = [step for step in traceback.extract_tb(fault.__traceback__) if "backtest" in step.filename]
                    at = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else ""
                    tally.faults.append(f"seed {seed}: {kind} from {at}: {str(fault)[:120]!r}; input {data[:80]!r}")
            tally.seconds += time.perf_counter() - begun
            tally.slowest_seconds = max(tally.slowest_seconds, time.perf_counter() - begun)
            tally.inputs += 1
    return tally


def _child(name: str, first: int, last: int, tell: Connection) -> None:
    target = next(one for one in targets() if one.name == name)
    with tempfile.TemporaryDirectory(prefix="fuzz-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        for start in range(first, last, BATCH):
            tell.send(feed_many(target, range(start, min(start + BATCH, last)), Path(folder), tell))


def feed_apart(target: Target, n_inputs: int, first: int) -> Tally:
    """Feed inputs in another process, and in a new one behind each input that ended it."""
    total, seed, last = Tally(target.name), first, first + n_inputs
    spawning = multiprocessing.get_context("spawn")
    while seed < last:
        ours, theirs = spawning.Pipe(duplex=False)
        child = spawning.Process(target=_child, args=(target.name, seed, last, theirs))
        child.start()
        theirs.close()
        current = batch = seed
        ended = ""
        try:
            while True:
                if not ours.poll(LONGEST_SECONDS):
                    child.kill()
                    ended = f"hung for {LONGEST_SECONDS:.0f} s"
                    raise EOFError
                told = ours.recv()
                if isinstance(told, Tally):
                    _add(total, told)
                    batch += told.inputs
                else:
                    current = told
        except EOFError:
            child.join()
        if batch >= last:
            break
        total.ended_process += 1
        total.inputs += current + 1 - batch
        total.accepted += current - batch
        total.faults.append(f"seed {current}: {ended or f'ended the process with {child.exitcode}'}")
        seed = current + 1
    return total


def _add(total: Tally, part: Tally) -> None:
    for name in ("inputs", "accepted", "refused", "crashed", "seconds"):
        setattr(total, name, getattr(total, name) + getattr(part, name))
    total.slowest_seconds = max(total.slowest_seconds, part.slowest_seconds)
    known = {fault.partition(": ")[2][:60] for fault in total.faults}
    total.faults += [fault for fault in part.faults if fault.partition(": ")[2][:60] not in known]


def main(arguments: list[str] | None = None) -> int:
    """Run, print one line a parser, end with 1 where something crashed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000, help="for each parser")
    parser.add_argument("--seed", type=int, default=0, help="of the first input; each next one has the next seed")
    parser.add_argument("--only", default="", help="parsers whose name has this in it")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args(arguments)
    tallies = []
    print(
        f"{'parser':32} {'inputs':>9} {'accepted':>9} {'refused':>9} {'crashed':>8} {'ended':>6} {'seconds':>8} {'slowest':>8}"
    )
    for target in targets():
        if given.only not in target.name:
            continue
        one = feed_apart(target, given.inputs, given.seed)
        tallies.append(one)
        print(
            f"{one.name:32} {one.inputs:9,} {one.accepted:9,} {one.refused:9,} {one.crashed:8,} {one.ended_process:6,} "
            f"{one.seconds:8.1f} {one.slowest_seconds:8.3f}",
            flush=True,
        )
        for fault in one.faults:
            print(f"    {fault}", flush=True)
        if given.json is not None:
            given.json.write_text(json.dumps([vars(tally) for tally in tallies], indent=1), encoding="utf-8")
    return 1 if any(tally.crashed or tally.ended_process for tally in tallies) else 0


if __name__ == "__main__":
    raise SystemExit(main())
