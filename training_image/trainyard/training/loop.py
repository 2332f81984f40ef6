"""The driver loop of an `algorithm` run: build -> train -> evaluate -> stop early -> checkpoint, told to callbacks.

`train` below is the whole of it; every concern that only watches (progress, terminal, curves, records, report) is a
callback.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from trainyard import metrics as names
from trainyard.callbacks import Callback, Evaluation, Iteration
from trainyard.episodes.finite import FIELD, too_many
from trainyard.errors import InvalidConfiguration, NonFiniteNumber, root_cause
from trainyard.metrics import EpisodeWindow, Metrics, better, is_finite_number
from trainyard.rllib.replay.saving import SavedReplay
from trainyard.runs import resuming
from trainyard.runs.checkpoints import Checkpoint, CheckpointStore
from trainyard.runs.run import Best, Outcome, RestoredReplay, Run
from trainyard.runs.seeds import Stream, seed_of
from trainyard.runs.stopping import Counters, OutOfTime, stop_reason
from trainyard.spec.sections import ResumeFrom
from trainyard.training.config import build_config
from trainyard.training.early_stopping import EarlyStopper
from trainyard.training.evaluation import Evaluator
from trainyard.training.heartbeat import Heartbeat
from trainyard.training.last_iteration import Reached, reached
from trainyard.training.trainer import Trainer, env_steps, limit_threads, loss, policy_lag, seed_everything

logger = logging.getLogger(__name__)


def train(run: Run, callbacks: Sequence[Callback] = ()) -> Outcome:
    """Run the training of `run` to one of its stop criteria; callbacks see every step, also of a failed run.

    Raises:
        Whatever ended it early, after the callbacks' `on_run_end` (the outcome they get carries the error).
    """
    started = time.monotonic()
    # First, so that it knows of an iteration in which another callback ends the process.
    callbacks = [Reached(), *callbacks]
    if run.specification.early_stopping is not None:
        callbacks = [*callbacks, EarlyStopper(run.specification.early_stopping)]
    loop = _Loop(run, callbacks)
    outcome = Outcome("interrupted", 0.0)
    try:
        loop.build()
        loop.restore()
        loop.tell(lambda callback: callback.on_run_start(run))
        while (reason := loop.stop_reason()) is None:
            try:
                iteration = loop.iterate()
            except OutOfTime:
                loop.give_up_iteration()
                continue
            evaluated = loop.evaluate_if_due()
            loop.checkpoint_if_due(iteration, evaluated)
        loop.test()
        outcome = Outcome(reason, time.monotonic() - started)
    except BaseException as error:
        outcome = Outcome(type(root_cause(error)).__name__, time.monotonic() - started, error)
        raise
    finally:
        loop.heartbeat.end()
        _tell_all(callbacks, lambda callback: callback.on_run_end(run, outcome))
        # After a signal the driver has only seconds left, and a runner in a slow episode answers only after that
        # episode. So the runners are not closed here; they end with their job.
        if not isinstance(outcome.error, KeyboardInterrupt):
            loop.close()
    return outcome


class _Loop:
    """State of the loop between its steps."""

    def __init__(self, run: Run, callbacks: Sequence[Callback]) -> None:
        self.run = run
        self.specification = run.specification
        self.callbacks = callbacks
        self.window = EpisodeWindow()
        self.store = CheckpointStore(run.storage, run.specification.checkpoints.keep)
        self.trainer: Trainer | None = None
        self.validation: Evaluator | None = None
        self.heartbeat = Heartbeat(self._say)
        self._steps_before = 0
        self._last: Metrics = {}
        self._saved = 0
        self._given_up = ""

    def build(self) -> None:
        seed_everything(self.specification.seed)
        limit_threads(self.specification.learner.cpus)
        runner_callbacks = [found for callback in self.callbacks for found in callback.runner_callbacks()]
        self.trainer = Trainer(build_config(self.specification, runner_callbacks))
        self.run.foreach_env_runner = self.trainer.foreach_env_runner
        self.run.listen = self.trainer.listen
        evaluation = self.specification.evaluation
        if evaluation is not None:
            self.validation = Evaluator(
                self.trainer.algorithm,
                kind="validation",
                episodes=evaluation.episodes,
                explore=evaluation.explore,
                environment_config=evaluation.environment_config,
                seed=seed_of(self.specification.seed, Stream.VALIDATION),
                max_steps=evaluation.max_steps_per_episode,
                tolerate=self.specification.sampling.non_finite.tolerate,
            )

    def tell(self, call: Callable[[Callback], None]) -> None:
        for callback in self.callbacks:
            call(callback)

    def iterate(self) -> Iteration:
        run, trainer, before = self.run, self.trainer, time.monotonic()
        assert trainer is not None
        number = run.counters.iteration + 1
        with self.heartbeat.during(lambda: f"iteration {number}{trainer.words()}"), self._timed():
            result, episodes = trainer.train(self._deadline())
        seconds = time.monotonic() - before
        self.window.add(episodes)
        self._check_left_out()
        episodes = [episode for episode in episodes if names.NON_FINITE not in episode]
        sampled = env_steps(result)
        fresh = max(0, sampled - self._steps_before)
        self._steps_before = sampled
        run.counters = Counters(
            iteration=run.counters.iteration + 1,
            episodes=self.window.finished,
            env_steps=run.counters.env_steps + fresh,
            seconds=run.counters.seconds,
        )
        values: Metrics = {
            **names.flatten(result, names.RLLIB),
            **self.window.metrics(),
            names.TIME_ITERATION: run.counters.iteration,
            names.TIME_ENV_STEPS: run.counters.env_steps,
            names.TIME_SECONDS: run.counters.seconds,
            names.ENV_STEPS_PER_SECOND: fresh / seconds,
            names.EPISODES_PER_SECOND: len(episodes) / seconds,
        }
        if (fresh_return := names.summarise(episodes).get("return_mean")) is not None:
            values[names.TRAIN_FRESH_RETURN_MEAN] = fresh_return
        total_loss = loss(result)
        if total_loss is not None:
            values[names.TRAIN_LOSS] = total_loss
        if (lag := policy_lag(result)) is not None:
            values[names.POLICY_LAG] = lag
        run.take(values)
        self._last = values
        iteration = Iteration(run.counters.iteration, values, episodes, seconds)
        self.tell(lambda callback: callback.on_iteration(run, iteration))
        return iteration

    def evaluate_if_due(self) -> bool:
        evaluation = self.specification.evaluation
        if evaluation is None or self.run.counters.iteration % evaluation.every_iterations:
            return False
        validation, iteration = self.validation, self.run.counters.iteration
        assert validation is not None
        try:
            with self.heartbeat.during(validation.words), self._timed():
                evaluated = validation.evaluate(iteration, self._deadline())
        except OutOfTime:
            self._give_up(f"in the validation of iteration {iteration}, which has no value ({validation.words()})")
            return False
        self._evaluated(evaluated)
        return True

    def give_up_iteration(self) -> None:
        """Time is up before the iteration's episodes have finished: keep what there is."""
        assert self.trainer is not None
        last = self.run.counters.iteration
        self._give_up(f"in iteration {last + 1}, which is not finished{self.trainer.words()}")
        if last > self._saved:
            self._save(best=False)

    def _give_up(self, where: str) -> None:
        self._given_up = f" ({where})"
        logger.warning("stop.duration is over %s", where)

    def _deadline(self) -> float | None:
        """When `stop.duration` is over, of time.monotonic()."""
        allowed = self.specification.stop.duration
        return None if allowed is None else time.monotonic() + allowed - self.run.counters.seconds

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """Counts the seconds of training and evaluation, of what is given up, too."""
        before = time.monotonic()
        try:
            yield
        finally:
            counters = self.run.counters
            self.run.counters = replace(counters, seconds=counters.seconds + time.monotonic() - before)

    def _say(self, words: str) -> None:
        logger.info("%s", words)
        self.tell(lambda callback: callback.on_wait(self.run, words))

    def _check_left_out(self) -> None:
        tolerate, window = self.specification.sampling.non_finite.tolerate, self.window
        if window.left_out and too_many(window.left_out, window.finished, tolerate):
            raise NonFiniteNumber(
                f"{window.left_out} of {window.finished} training episodes had a number that is not finite, and "
                f"{FIELD} is {tolerate:g}; correct the environment, or raise that"
            )

    def _evaluated(self, evaluation: Evaluation) -> None:
        self.run.take(evaluation.metrics)
        self._last = {**self._last, **evaluation.metrics}
        self.tell(lambda callback: callback.on_evaluation(self.run, evaluation))

    def stop_reason(self) -> str | None:
        """Only values of the last iteration count, not what an earlier one left in `run.metrics`."""
        reason = stop_reason(self.specification.stop, self.run.counters, self._last)
        found = [reason and reason + self._given_up, *(callback.stop_reason(self.run) for callback in self.callbacks)]
        return next((item for item in found if item), None)

    def checkpoint_if_due(self, iteration: Iteration, evaluated: bool) -> None:
        last = self.stop_reason() is not None
        due = last or iteration.number % self.specification.checkpoints.every_iterations == 0
        selection = self.run.selection
        # A policy is saved as the best when its selection metric is new: after an evaluation, or, for a metric of
        # training (which changes every iteration), together with a regular checkpoint.
        if (evaluated if selection.by_validation else due) and self._improved():
            self._save(best=True)
        if due:
            self._save(best=False)

    def _improved(self) -> bool:
        run, selection = self.run, self.run.selection
        value = self._last.get(selection.metric)
        if value is None or not is_finite_number(value):
            return False
        if not better(value, run.best.value if run.best else None, selection.mode):
            return False
        run.best = Best(value, run.counters.iteration)
        return True

    def _save(self, *, best: bool) -> None:
        assert self.trainer is not None
        run = self.run
        state = {
            "counters": asdict(run.counters),
            "metrics": {name: value for name, value in run.metrics.items() if not name.startswith(names.RLLIB)},
            "window": self.window.state_dict(),
            "best": asdict(run.best) if run.best else None,
            "selection": asdict(run.selection),
            "callbacks": {callback.name: callback.state_dict() for callback in self.callbacks},
            "replay": _as_dict(self.trainer.replay()),
            "specification": run.document.get("spec", {}),
        }
        # The best policy is for use, not for going on from.
        save = partial(self.trainer.save, replay=not best)
        checkpoint = self.store.save(run.counters.iteration, save, state, best=best)
        if not best:
            self._saved = run.counters.iteration
        self.tell(lambda callback: callback.on_checkpoint(run, checkpoint))

    def restore(self) -> None:
        """Go on from the latest checkpoint of an earlier attempt; without one, start where the specification says."""
        self.store.settle()
        checkpoint = self.store.latest()
        if checkpoint is not None:
            self._go_on(self.store, checkpoint, self.store.state_of(checkpoint))
        elif self.specification.resume_from is not None:
            with resuming.opened(self.specification.resume_from) as origin:
                self._start_from(origin, self.specification.resume_from)
        self._take_best()
        self.run.lost_iterations = max(0, reached(self.run.storage) - self.run.counters.iteration)

    def _take_best(self) -> None:
        """Take the best value from the best checkpoint, not from the checkpoint from which this attempt continues.

        The previous attempt may have found a better policy after that checkpoint, and a value without its policy is
        useless.
        """
        run = self.run
        before, run.best = run.best, None
        best = self._best_of(self.store, self.store.best())
        if best is not None:
            checkpoint, run.best = best
            run.restored_best = dict(self.store.state_of(checkpoint)["metrics"])
        elif before is not None:
            logger.warning("the best policy (iteration %d, %g) is not there any more", before.iteration, before.value)
        found = (self.store.latest(), best[0] if best else None)
        run.restored_checkpoints = tuple(checkpoint for checkpoint in found if checkpoint is not None)

    def _best_of(self, store: CheckpointStore, checkpoint: Checkpoint | None) -> tuple[Checkpoint, Best] | None:
        """The checkpoint and its value, where it is of the policy that its run found best by this run's metric."""
        if checkpoint is None:
            return None
        state = store.state_of(checkpoint)
        if state.get("selection") != asdict(self.run.selection) or state["best"] is None:
            return None
        best = Best(**state["best"])
        return (checkpoint, best) if best.iteration == checkpoint.iteration else None

    def _start_from(self, origin: resuming.Origin, wanted: ResumeFrom) -> None:
        """Start from a checkpoint of another run."""
        assert self.trainer is not None
        folder = origin.store.algorithm_folder(origin.checkpoint)
        self.run.resumed_from = f"{wanted.restore} of iteration {origin.checkpoint.iteration}"
        if wanted.restore == "Weights":
            self.trainer.check_network(folder)
            self.trainer.restore_weights(folder)
            return
        state = origin.store.state_of(origin.checkpoint)
        resuming.check_algorithm(state, self.specification)
        self.trainer.check_network(folder)
        if state.get("selection") == asdict(self.run.selection):
            self._take_over_best(origin)
        else:
            # Values of another metric: neither a best to beat nor a reason to stop early.
            state = state | {"best": None, "callbacks": without(state["callbacks"], EarlyStopper.__name__)}
        self._go_on(origin.store, origin.checkpoint, state)
        if (reason := self.stop_reason()) is not None:
            raise InvalidConfiguration.of(
                "spec.stop",
                f"the run would end before its first iteration ({reason})",
                "raise it, or spec.earlyStopping.patience, because both count what was done before the checkpoint of "
                "spec.resumeFrom, too; or use restore: Weights there",
            )

    def _take_over_best(self, origin: resuming.Origin) -> None:
        """Have the other run's best policy, unless an attempt that was killed early has left a better one."""
        theirs = self._best_of(origin.store, origin.store.best()) or self._best_of(origin.store, origin.checkpoint)
        own = self._best_of(self.store, self.store.best())
        if theirs is not None and better(theirs[1].value, own[1].value if own else None, self.run.selection.mode):
            self.store.take_over_best(origin.store, theirs[0])

    def _go_on(self, store: CheckpointStore, checkpoint: Checkpoint, state: dict[str, Any]) -> None:
        assert self.trainer is not None
        self.trainer.restore(store.algorithm_folder(checkpoint))
        run = self.run
        run.counters = Counters(**state["counters"])
        run.restored_iteration = self._saved = run.counters.iteration
        run.restored_replay = _restored_replay(state.get("replay"), self.trainer)
        run.metrics = dict(state["metrics"])
        run.best = Best(**state["best"]) if state["best"] else None
        self.window.load_state_dict(state["window"])
        self._steps_before = self.trainer.env_steps()
        for callback in self.callbacks:
            if callback.name in state["callbacks"]:
                callback.load_state_dict(state["callbacks"][callback.name])
        logger.info("resumed from %s (iteration %d)", checkpoint.uri, run.restored_iteration)

    def test(self) -> None:
        """Play the test's episodes with the best policy, in the end."""
        test = self.specification.test
        if test is None:
            return
        assert self.trainer is not None
        # The policy that the summary names; without one, the latest.
        best = self.store.best() if self.run.best is not None else None
        if best is not None:
            self.trainer.restore(self.store.algorithm_folder(best))
        evaluator = Evaluator(
            self.trainer.algorithm,
            kind="test",
            episodes=test.episodes,
            explore=False,
            environment_config=test.environment_config,
            seed=seed_of(self.specification.seed, Stream.TEST),
            max_steps=test.max_steps_per_episode,
            tolerate=self.specification.sampling.non_finite.tolerate,
        )
        try:
            # It is what the training was for: `stop.duration` ends that, and not this.
            with self.heartbeat.during(evaluator.words), self._timed():
                evaluation = evaluator.evaluate(best.iteration if best else self.run.counters.iteration)
            self._evaluated(evaluation)
        finally:
            evaluator.stop()

    def close(self) -> None:
        if self.validation is not None:
            self.validation.stop()
        if self.trainer is not None:
            self.trainer.stop()


def without(state: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != name}


def _as_dict(replay: SavedReplay | None) -> dict[str, Any] | None:
    return asdict(replay) if replay is not None else None


def _restored_replay(written: dict[str, Any] | None, trainer: Trainer) -> RestoredReplay | None:
    """What came back of the replay buffer that a checkpoint was written with."""
    now = trainer.replay()
    if now is None:
        return None
    lost = SavedReplay(**written) if written and now.bytes is not None else now
    return RestoredReplay(now.steps, lost.why_lost() if lost.steps > now.steps or now.bytes is None else "")


def _tell_all(callbacks: Sequence[Callback], call: Callable[[Callback], Any]) -> None:
    """Tell every callback even when one of them raises; the first error is raised in the end."""
    errors = []
    for callback in callbacks:
        try:
            call(callback)
        except Exception as error:
            logger.exception("callback %s failed at the end of the run", callback.name)
            errors.append(error)
    if errors:
        raise errors[0]
