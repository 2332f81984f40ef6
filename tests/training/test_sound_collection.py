"""Runs with numbers that are not finite, episodes that never end, and time that runs out."""

import time

import pytest

from tests.training.test_driver import IN_THE_DRIVER, Watch, make_run, play
from trainyard.errors import NonFiniteNumber, UserError, root_cause
from trainyard.training.loop import train

pytestmark = pytest.mark.usefixtures("ray_session")

WHOLE_EPISODES = {"mode": "Asynchronous", "envRunners": 1, "episodesPerUpdate": 10, "cpusPerEnvRunner": 0.5}
ONE_RUNNER = {"envRunners": 1}
SPOILT = {"name": "environments:Spoilt"}


@pytest.mark.parametrize(
    ("algorithm", "environment", "sampling"),
    [
        ("PPO", SPOILT, IN_THE_DRIVER),
        ("PPO", SPOILT, ONE_RUNNER),
        ("PPO", SPOILT, WHOLE_EPISODES),
        ("IMPALA", SPOILT, ONE_RUNNER),
        ("APPO", SPOILT, ONE_RUNNER),
        ("DQN", SPOILT, IN_THE_DRIVER),
        ("SAC", {"name": "environments:SpoiltContinuous"}, IN_THE_DRIVER),
    ],
)
def test_a_reward_that_is_not_finite_ends_the_run_as_the_users_error(tmp_path, algorithm, environment, sampling):
    run = make_run(tmp_path, algorithm=algorithm, environment=environment, sampling=sampling)
    with pytest.raises(Exception, match="reward is nan") as raised:
        train(run, [Watch()])
    error = root_cause(raised.value)
    assert isinstance(error, NonFiniteNumber)
    assert isinstance(error, UserError)
    assert error.exit_code == 2
    assert "episode 2, step 3" in str(error)


@pytest.mark.parametrize("sampling", [IN_THE_DRIVER, WHOLE_EPISODES], ids=["RLlib's", "whole episodes"])
def test_where_a_share_is_tolerated_such_episodes_are_left_out_and_counted(tmp_path, sampling):
    run, watch, _ = play(
        tmp_path,
        environment={"name": "environments:Spoilt", "config": {"every": 4}},
        sampling=sampling | {"nonFinite": {"tolerate": 0.5}},
        stop={"iterations": 2},
    )
    left_out, finished = run.metrics["train/non_finite_episodes"], run.metrics["train/episodes"]
    assert left_out == pytest.approx(finished / 4, abs=3)
    assert left_out > 0
    assert run.metrics["train/return_mean"] == run.metrics["train/return_min"] == 10
    assert all(episode["return"] == 10 for iteration in watch.iterations for episode in iteration.episodes)


def test_more_than_is_tolerated_ends_the_run(tmp_path):
    run = make_run(
        tmp_path,
        environment={"name": "environments:Spoilt", "config": {"every": 4}},
        sampling=IN_THE_DRIVER | {"nonFinite": {"tolerate": 0.1}},
    )
    with pytest.raises(NonFiniteNumber, match=r"training episodes had a number that is not finite.* is 0\.1"):
        train(run, [Watch()])


def test_in_an_evaluation_it_is_named_too(tmp_path):
    run = make_run(
        tmp_path,
        environment={"name": "environments:Spoilt", "config": {"every": 10**9}},
        evaluation={"episodes": 3, "environmentConfig": {"every": 2}},
        sampling=IN_THE_DRIVER,
    )
    with pytest.raises(Exception, match="the validation, episode 2, step 3: the reward is nan"):
        train(run, [Watch()])


def test_an_evaluation_leaves_out_what_is_tolerated(tmp_path):
    _, watch, _ = play(
        tmp_path,
        environment={"name": "environments:Spoilt", "config": {"every": 10**9}},
        evaluation={"episodes": 6, "environmentConfig": {"every": 4}},
        sampling=IN_THE_DRIVER | {"nonFinite": {"tolerate": 0.2}},
        stop={"iterations": 1},
    )
    [evaluation] = watch.evaluations
    assert evaluation.metrics["validation/non_finite_episodes"] == 1
    assert len(evaluation.episodes) == 5
    assert evaluation.metrics["validation/return_mean"] == 10


def test_an_episode_that_never_ends_in_an_evaluation_is_ended_and_counted(tmp_path):
    _, watch, _ = play(
        tmp_path,
        environment={"name": "environments:Endless", "config": {"length": 10}},
        evaluation={"episodes": 2, "maxStepsPerEpisode": 50, "environmentConfig": {"length": 0}},
        test={"episodes": 1, "maxStepsPerEpisode": 30, "environmentConfig": {"length": 0}},
        sampling=IN_THE_DRIVER,
        stop={"iterations": 1},
    )
    validation, test = (item.metrics for item in watch.evaluations)
    assert validation["validation/episode_length_mean"] == 50
    assert validation["validation/cut_episodes"] == 2
    assert (test["test/episode_length_mean"], test["test/cut_episodes"]) == (30, 1)


def test_stop_duration_ends_an_evaluation_that_does_not_end(tmp_path):
    started = time.monotonic()
    run, watch, outcome = play(
        tmp_path,
        environment={"name": "environments:Endless", "config": {"length": 10}},
        evaluation={"episodes": 1, "maxStepsPerEpisode": 10**9, "environmentConfig": {"length": 0}},
        sampling=IN_THE_DRIVER,
        stop={"iterations": 2, "duration": "3s"},
    )
    assert time.monotonic() - started < 120
    assert "seconds of stop.duration (in the validation of iteration 1, which has no value" in outcome.reason
    assert watch.evaluations == []
    assert [checkpoint.iteration for checkpoint in watch.checkpoints] == [1]
    assert run.counters.seconds >= 3


def test_stop_duration_ends_a_wait_for_whole_episodes_that_never_end(tmp_path):
    _, watch, outcome = play(
        tmp_path,
        environment={"name": "environments:Endless", "config": {"length": 0}},
        sampling=WHOLE_EPISODES,
        stop={"iterations": 2, "duration": "3s"},
    )
    assert "stop.duration (in iteration 1, which is not finished: 0 of 10 episodes" in outcome.reason
    assert watch.iterations == []


def test_what_goes_on_is_told_while_nothing_finishes(tmp_path, monkeypatch):
    monkeypatch.setattr("trainyard.training.heartbeat.EVERY_SECONDS", 0.5)

    class Hears(Watch):
        def __init__(self):
            super().__init__()
            self.heard = []

        def on_wait(self, run, words):
            self.heard.append(words)

    hears = Hears()
    run = make_run(
        tmp_path,
        environment={"name": "environments:Endless", "config": {"length": 10}},
        evaluation={"episodes": 1, "maxStepsPerEpisode": 10**9, "environmentConfig": {"length": 0}},
        sampling=IN_THE_DRIVER,
        stop={"iterations": 2, "duration": "4s"},
    )
    train(run, [hears])
    assert any(words.startswith("validation: ") and "steps in its episode 1" in words for words in hears.heard)
