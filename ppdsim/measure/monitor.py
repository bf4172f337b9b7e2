"""Watching the machine while it is measured: a look a second, kept in ``machine.jsonl`` of all calls of a run.

A thread does it, so that a busy event loop does not leave holes.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

from ppdsim.machine.sampler import AbstractSampler, Sample
from ppdsim.measure.journal import cut_torn_line
from ppdsim.measure.machine_notes import machine_notes

PERIOD_S = 1.0
"""Time between looks [s]."""
MACHINE = "machine.jsonl"


class Monitor:
    """A thread that looks at the machine; use as a context manager."""

    def __init__(self, folder: Path, sampler: AbstractSampler) -> None:
        self._path = folder / MACHINE
        self._sampler = sampler
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppdsim-monitor", daemon=True)
        if self._path.exists():
            cut_torn_line(self._path)
        self._samples = list(_earlier(self._path))
        self._earlier = len(self._samples)

    def __enter__(self) -> Monitor:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(timeout=10.0)

    def notes(self) -> tuple[str, ...]:
        """Return what the run, its earlier calls included, has to say about its machine, a sentence each."""
        return machine_notes(self._samples)

    def notes_of_call(self) -> tuple[str, ...]:
        """Return what this call alone has to say about the machine, a sentence each."""
        return machine_notes(self._samples[self._earlier :])

    def look(self) -> None:
        """Take one look and keep it."""
        sample = self._sampler.sample()
        self._samples.append(sample)
        with self._path.open("a") as file:
            file.write(json.dumps({"unix_s": sample.unix_s, "busy": sample.busy_share, "gpus": sample.gpus}) + "\n")

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self.look()


def _earlier(path: Path) -> Iterator[Sample]:
    """Yield the looks of earlier calls; a line that is torn, because its call was killed, is none."""
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found = json.loads(line)
            yield Sample(unix_s=found["unix_s"], busy_share=found["busy"], gpus=tuple(found["gpus"]))
        except (ValueError, TypeError, KeyError):  # noqa: PERF203 - rare, and the lines after it count
            continue
