"""The recorder as a Ray actor: one per run, on the driver's node, found by its name. The trials of a search share one.

Ray stops it with the driver's job. It is not restarted: a recorder that died has lost its uncommitted data, and
the run must not continue as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainyard.episodes.records import Batch, RunRecord, Settings
from trainyard.recording.database import migrate, open_database
from trainyard.recording.recorder import Recorder

# Looked up in the namespace that a Ray job's processes have in common.
ACTOR_NAME = "trainyard-recorder"


class RecorderActor(Recorder):
    """A recorder with its own connection to the database.

    Args:
        url: SQLAlchemy URL; never logged.
        run: the run and the attempt.
        settings: for the env runners, which ask for them here.
        publish: copies the file of a SQLite database to a place that does not depend on this node. It is called here,
            between two commits, so that the copy is complete.
    """

    def __init__(self, url: str, run: RunRecord, settings: Settings, publish: Callable[[], None]) -> None:
        engine = open_database(url)
        migrate(engine)
        self._settings = settings
        self._publish = publish
        super().__init__(engine, run)

    def describe(self) -> tuple[int, int]:
        """Return (attempt, position)."""
        return self.attempt, self.position

    def join(self, trial: str, kind: str, runner: int) -> tuple[int, Settings]:
        """Register an env runner; return its incarnation and what it should record."""
        return self.register_runner(trial, kind, runner), self._settings

    def add_packed(self, batch: bytes) -> None:
        self.add(Batch.unpacked(batch))

    def checkpoint(self) -> int:
        """Flush and publish, so that the database always contains what the checkpoint contains; return the position."""
        position = self.flush()
        self._publish()
        return position

    def finish(self, outcome: str, findings: Mapping[str, float | str] | None = None) -> int:
        position = super().finish(outcome, findings)
        self._publish()
        return position


def start_recorder(url: str, run: RunRecord, settings: Settings, publish: Callable[[], None] = lambda: None) -> Any:
    """Start the recorder on this node and wait until it has registered the attempt; return its handle.

    Raises:
        InvalidConfiguration: the URL cannot be used.
        RecordingError: the database cannot be reached or written.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=1)(RecorderActor)
    actor = remote.options(name=ACTOR_NAME, scheduling_strategy=here).remote(url, run, settings, publish)
    ray.get(actor.describe.remote())
    return actor
