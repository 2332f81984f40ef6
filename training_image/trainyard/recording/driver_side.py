"""The driver's side of the recording: starts the recorder, tells it of iterations and evaluations, keeps its position.

Every checkpoint contains the recorder's position: an attempt that continues from it supersedes all later rows.
If the storage is remote, the recorder publishes its SQLite file before each checkpoint, so that the database
always contains what the checkpoint contains.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from trainyard import metrics as names
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.episodes.records import MAIN_TRIAL, Batch, RunRecord, Source, TrialRecord, settings_of
from trainyard.metrics import finite
from trainyard.spec.relations import ALWAYS_ASYNCHRONOUS
from trainyard.training.provenance import versions

if TYPE_CHECKING:
    from trainyard.runs.run import Outcome, Run

logger = logging.getLogger(__name__)

# Set on the head by the operator from the secret of spec.recording.database.secretRef.
URL_VARIABLE = "TRAINYARD_DATABASE_URL"
FOLDER = "database"
FILE = "recording.sqlite"


class Recording(Callback):
    """Records an algorithm run. Its place in the driver's callbacks does not matter."""

    trial = MAIN_TRIAL

    def __init__(self) -> None:
        self._recorder: Any = None
        self._run: Run | None = None
        self._restored: dict[str, Any] = {}
        self._evaluated_episodes: dict[str, int] = {}

    def runner_callbacks(self) -> list[Callable[[], Any]]:
        from trainyard.recording.runner_side import RecordEpisodes

        return [partial(RecordEpisodes, self.trial)]

    def on_run_start(self, run: Run) -> None:
        import ray

        self._run = run
        self._recorder = self._join(run)
        run.listen(lambda episodes: self._record_whole(run, episodes))
        attempt, position = ray.get(self._recorder.describe.remote())
        logger.info("recording %s of attempt %d of the run from position %d", self.trial, attempt, position)

    def on_iteration(self, run: Run, iteration: Iteration) -> None:
        import ray

        if _is_synchronous(run):
            # All samples of the iteration are back, so the wait is short; then the rows have exactly its number.
            self._flush_runners()
        values = finite(iteration.metrics)
        ray.get(
            self._recorder.add_iteration.remote(
                iteration.number,
                seconds=iteration.seconds,
                env_steps=int(values[names.TIME_ENV_STEPS]),
                episodes=int(values[names.TRAIN_EPISODES]),
                metrics={name: value for name, value in values.items() if not name.startswith(names.RLLIB)},
                trial=self.trial,
            )
        )

    def on_evaluation(self, run: Run, evaluation: Evaluation) -> None:
        import ray

        from trainyard.recording.runner_side import chunk_of

        first = self._evaluated_episodes.get(evaluation.kind, 0)
        with_steps = settings_of(run.specification).steps != "Off"
        chunks = [
            chunk_of(episode, 0, number, with_steps=with_steps)
            for number, episode in enumerate(evaluation.episodes, first)
        ]
        self._evaluated_episodes[evaluation.kind] = first + len(chunks)
        ray.get(
            self._recorder.add_evaluation.remote(
                Batch(Source(self.trial, evaluation.kind, 0, 0), chunks),
                iteration=evaluation.iteration,
                seconds=evaluation.seconds,
                metrics=finite(evaluation.metrics),
            )
        )

    def on_run_end(self, run: Run, outcome: Outcome) -> None:
        if self._recorder is None:
            return
        if outcome.error is None:
            self._flush_runners()
            self._end(run, outcome)
            return
        try:
            self._end(run, outcome)
        except Exception:
            # This error may also have ended the run; the run's own error is the one to show.
            logger.exception("the end of the failed run could not be recorded")

    def state_dict(self) -> dict[str, Any]:
        import ray

        self._flush_runners()
        position = ray.get(self._recorder.checkpoint.remote())
        return {"identity": identity_of(self._run), "position": position}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._restored = state

    def _record_whole(self, run: Run, episodes: list[Any]) -> None:
        """Does not wait: later calls (for an iteration, a checkpoint) wait, and the recorder handles calls in order."""
        from trainyard.recording.from_asynchronous import batches_of

        for batch in batches_of(episodes, settings_of(run.specification), self.trial):
            self._recorder.add_packed.remote(batch.packed())

    def _flush_runners(self) -> None:
        from trainyard.recording.runner_side import flush_runner

        assert self._run is not None
        self._run.foreach_env_runner(flush_runner)

    def _join(self, run: Run) -> Any:
        """Return the recorder, in which this attempt is now registered."""
        return start(run, restored_iteration=run.restored_iteration, restored_position=self._restored_position(run))

    def _end(self, run: Run, outcome: Outcome) -> None:
        import ray

        ray.get(self._recorder.finish.remote(outcome.reason, run.findings))

    def _restored_position(self, run: Run) -> int | None:
        # A checkpoint of another run (a warm start) has positions of that run's rows.
        return self._restored["position"] if self._restored.get("identity") == identity_of(run) else None


class TrialRecording(Recording):
    """Records a trial of a search, in its own process; the search's driver has started the recorder.

    Args:
        trial: its id in the table of the trials.
    """

    def __init__(self, trial: str, parameters: dict[str, Any]) -> None:
        super().__init__()
        self.trial = trial
        self._parameters = parameters

    def _join(self, run: Run) -> Any:
        import ray

        from trainyard.recording.actor import ACTOR_NAME

        recorder = ray.get_actor(ACTOR_NAME)
        record = TrialRecord(self.trial, self._parameters, run.restored_iteration, self._restored_position(run))
        ray.get(recorder.add_trial.remote(record))
        return recorder

    def _end(self, run: Run, outcome: Outcome) -> None:
        import ray

        ray.get(self._recorder.end_trial.remote(self.trial, outcome.reason))


def start(run: Run, **of_this_attempt: Any) -> Any:
    """Start the recorder of a run on this node; return its handle.

    Args:
        of_this_attempt: further fields of its `RunRecord`.
    """
    from trainyard.recording.actor import start_recorder

    record = RunRecord(
        identity=identity_of(run),
        name=run.identity.name,
        namespace=run.identity.namespace,
        uid=run.identity.uid,
        seed=run.specification.seed,
        specification=run.document.get("spec", {}),
        versions=versions(),
        cluster_attempt=run.identity.attempt,
        submission=run.identity.submission,
        job_id=run.identity.job_id,
        hostname=socket.gethostname(),
        **of_this_attempt,
    )
    return start_recorder(
        database_url(run), record, settings_of(run.specification), partial(run.storage.publish, FOLDER)
    )


def identity_of(run: Run | None) -> str:
    """The identity of a run, the same in all attempts: its uid; without Kubernetes, its name and results folder."""
    assert run is not None
    return run.identity.uid or f"{run.identity.name}@{run.storage.uri}"[-128:]


def database_url(run: Run) -> str:
    """The URL from the secret, or the URL of a SQLite file in the run's own folder."""
    recording = run.specification.recording
    if recording is not None and recording.database is not None:
        url = os.environ.get(URL_VARIABLE)
        if not url:
            from trainyard.errors import InvalidConfiguration

            raise InvalidConfiguration.of(
                "spec.recording.database.secretRef",
                f"{URL_VARIABLE} is not set",
                "put the database's URL into the secret's key url (in a cluster), or into this variable (elsewhere)",
            )
        return url
    folder = run.storage.local / FOLDER
    if not run.storage.is_local and not folder.exists() and FOLDER in run.storage.list_folders("."):
        # An earlier attempt, on a cluster that is gone, has published it.
        run.storage.download(FOLDER).rename(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{folder / FILE}"


def _is_synchronous(run: Run) -> bool:
    algorithm = run.specification.algorithm
    return algorithm is not None and algorithm.name not in ALWAYS_ASYNCHRONOUS
