"""The recording with real Ray: nothing missing, nothing doubled, whoever samples and whatever is killed.

Each test starts its own recorder; the env runners find it by its name.
"""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.callbacks.callbacks import RLlibCallback
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.tune.registry import register_env
from sqlalchemy import text

from trainyard import environments
from trainyard.episodes.records import RunRecord, Settings
from trainyard.recording.actor import start_recorder
from trainyard.recording.database import open_database
from trainyard.recording.runner_side import RecordEpisodes, flush_runner
from trainyard.rllib.env_runner import EnvRunner
from trainyard.spec.parsing import parse
from trainyard.training.config import build_config
from trainyard.training.trainer import Trainer

STEPS_PER_EPISODE = 12


pytestmark = pytest.mark.usefixtures("ray_session")


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    return (
        f"sqlite:///{tmp_path}/recording.sqlite"
        if request.param == "sqlite"
        else request.getfixturevalue("postgresql_url")
    )


@pytest.fixture
def sqlite_url(tmp_path):
    return f"sqlite:///{tmp_path}/recording.sqlite"


@pytest.fixture
def recorder():
    """Start recorders; each replaces the one before."""
    started = []

    def stop():
        while started:
            actor = started.pop()
            ray.get(actor.flush.remote())
            ray.kill(actor)
            # The name is free once the process is gone.
            while True:
                try:
                    ray.get_actor("trainyard-recorder")
                    time.sleep(0.02)
                except ValueError:
                    break

    def start(url, identity, settings=Settings("All")):  # noqa: B008 - immutable
        stop()
        fields = {"namespace": "default", "uid": "", "job_id": "job", "hostname": "host", "versions": {}}
        run = RunRecord(identity, identity, seed=1, specification={}, cluster_attempt=1, submission=1, **fields)
        started.append(start_recorder(url, run, settings))
        return started[0]

    yield start
    stop()


def rows(url, query, **parameters):
    engine = open_database(url)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(text(query), parameters)]
    engine.dispose()
    return found


class Numbered(gymnasium.ObservationWrapper):
    """Puts the global number of the episode and the step in front of the observation."""

    def __init__(self, env):
        super().__init__(env)
        inner = env.observation_space
        front = np.full(2, 1e6, np.float32)
        self.observation_space = gymnasium.spaces.Box(
            np.concatenate([0 * front, inner.low]), np.concatenate([front, inner.high]), dtype=np.float32
        )

    def reset(self, *, seed=None, options=None):
        self._index, self._t = options["episode_index"], 0
        return super().reset(seed=seed, options=options)

    def step(self, action):
        self._t += 1
        return super().step(action)

    def observation(self, observation):
        return np.concatenate([np.array([self._index, self._t], np.float32), observation])


class FrozenPolicy(TorchRLModule):
    """Never learns; draws its actions from the episode's number and the step, so that who samples does not matter."""

    framework = "torch"

    def setup(self):
        pass

    def _forward(self, batch, **kwargs):
        import torch

        numbers = batch[Columns.OBS][:, :2].int().tolist()
        actions = [int(np.random.default_rng([7, *number]).integers(3)) for number in numbers]
        return {Columns.ACTIONS: torch.tensor(actions)}


def numbered_env(envs_per_runner, total, context):
    """The next environment of this runner, at its place among all of them."""
    place = itertools.count() if not hasattr(numbered_env, "places") else numbered_env.places
    numbered_env.places = place
    position = max(context.worker_index - 1, 0) * envs_per_runner + next(place)
    config = {"asset": "KO", "start": "2000-01-01", "end": "2005-12-31", "episode_length": STEPS_PER_EPISODE}
    env = Numbered(environments.creator("trading")(config))
    return environments.wrap(env, [{"name": "episode-seeds", "config": {"position": position, "total": total}}])


def frozen_config(runners, envs):
    name = f"numbered-{runners}-{envs}"
    register_env(name, partial(numbered_env, envs, max(runners, 1) * envs))
    return (
        PPOConfig()
        .environment(name)
        .env_runners(num_env_runners=runners, num_envs_per_env_runner=envs)
        .rl_module(rl_module_spec=RLModuleSpec(module_class=FrozenPolicy))
        .callbacks([RecordEpisodes])
    )


class TestFrozenPolicy:
    """Proof (a)."""

    def test_many_runners_write_row_for_row_what_one_writes(self, url, recorder):
        episodes_per_env, runners, envs = 3, 2, 2
        episodes = runners * envs * episodes_per_env

        recorder(url, "many")
        remote = ray.remote(num_cpus=0)(EnvRunner)
        many = [remote.remote(config=frozen_config(runners, envs), worker_index=index + 1) for index in range(runners)]
        # In pieces that cut episodes in the middle, and not quite in step.
        for piece in (5, 17, envs * episodes_per_env * STEPS_PER_EPISODE - 22):
            ray.get([runner.sample.remote(num_timesteps=piece) for runner in many])
        ray.get([runner.apply.remote(flush_runner) for runner in many])
        for runner in many:
            ray.kill(runner)

        recorder(url, "one")
        numbered_env.places = itertools.count()
        one = EnvRunner(config=frozen_config(0, 1), worker_index=0)
        one.sample(num_timesteps=episodes * STEPS_PER_EPISODE)
        flush_runner(one)
        one.stop()
        recorder(url, "last")  # ends the one before it, all committed

        def played(identity, table, columns):
            query = (
                f"select e.episode_index, {columns} from {table} join episodes e on e.run_id = {table}.run_id and "
                f"e.episode = {table}.episode join runs r on r.run_id = e.run_id where r.identity = :identity "
                "and e.episode_index < :episodes order by 1, 2, 3"
            )
            return rows(url, query, identity=identity, episodes=episodes)

        for table, columns in (
            ("steps", "steps.t, steps.action, steps.reward, steps.date, steps.portfolio_value"),
            ("trades", "trades.t, trades.n, trades.symbol, trades.quantity, trades.price, trades.cost, trades.date"),
        ):
            by_many, by_one = played("many", table, columns), played("one", table, columns)
            assert by_many == by_one
            assert by_one
        steps = played("one", "steps", "steps.t, steps.reward")
        assert [row[:2] for row in steps] == list(itertools.product(range(episodes), range(STEPS_PER_EPISODE)))


class CountSteps(RLlibCallback):
    """Counts on the runner, step by step, independently of the recording."""

    def __init__(self):
        self.steps = self.episodes = 0

    def on_episode_step(self, *, env_runner, **kwargs):
        self.steps += 1
        env_runner.counted = (self.steps, self.episodes)

    def on_episode_end(self, *, env_runner, **kwargs):
        self.episodes += 1
        env_runner.counted = (self.steps, self.episodes)


def counted(env_runner):
    return getattr(env_runner, "counted", (0, 0))


def trained(recorder_of, algorithm, runners, config, environment="CartPole-v1", iterations=2):
    """Train with recording; return what the runners counted."""
    specification = parse(
        {
            "seed": 1,
            "algorithm": {"name": algorithm, "config": config},
            "environment": {"name": environment},
            "sampling": {"envRunners": runners, "envsPerRunner": 2},
            "stop": {"iterations": iterations},
        }
    )
    built = build_config(specification, [CountSteps, RecordEpisodes])
    built.reporting(min_sample_timesteps_per_iteration=200)
    trainer = Trainer(built)
    try:
        for _ in range(iterations):
            trainer.train()
        trainer.foreach_env_runner(flush_runner)
        counts = trainer.algorithm.env_runner_group.foreach_env_runner(counted)
    finally:
        trainer.stop()
    ray.get(recorder_of.finish.remote("done"))
    return sum(steps for steps, _ in counts), sum(episodes for _, episodes in counts)


class TestConservation:
    """Proof (b)."""

    @pytest.mark.parametrize(
        ("algorithm", "runners", "config", "environment"),
        [
            ("PPO", 2, {"train_batch_size_per_learner": 300, "minibatch_size": 100, "num_epochs": 1}, "CartPole-v1"),
            ("APPO", 1, {"train_batch_size_per_learner": 200}, "CartPole-v1"),
            ("IMPALA", 1, {"train_batch_size_per_learner": 200}, "CartPole-v1"),
            ("DQN", 0, {"num_steps_sampled_before_learning_starts": 300}, "CartPole-v1"),
            ("SAC", 0, {"num_steps_sampled_before_learning_starts": 390}, "Pendulum-v1"),
        ],
    )
    def test_rows_are_the_steps_and_episodes_that_the_runners_counted(
        self, sqlite_url, recorder, algorithm, runners, config, environment
    ):
        actor = recorder(sqlite_url, algorithm)
        steps, episodes = trained(actor, algorithm, runners, config, environment)
        assert steps > 0
        assert rows(sqlite_url, "select count(*) from live_steps") == [(steps,)]
        assert rows(sqlite_url, "select sum(length) from live_episodes") == [(steps,)]
        assert rows(sqlite_url, "select count(*) from live_episodes where ended is not null") == [(episodes,)]

    def test_the_same_on_postgresql(self, postgresql_url, recorder):
        actor = recorder(postgresql_url, "conservation")
        config = {"train_batch_size_per_learner": 300, "minibatch_size": 100, "num_epochs": 1}
        steps, episodes = trained(actor, "PPO", 1, config)
        mine = "run_id = (select run_id from runs where identity = 'conservation')"
        assert rows(postgresql_url, f"select count(*) from live_steps where {mine}") == [(steps,)]
        assert rows(postgresql_url, f"select count(*) from live_episodes where ended is not null and {mine}") == [
            (episodes,)
        ]


GAPS = """
select e.episode from episodes e left join steps s on s.run_id = e.run_id and s.episode = e.episode
group by e.run_id, e.episode, e.length having count(s.t) <> e.length or max(s.t) <> e.length - 1
"""


class TestKilled:
    """Proof (c)."""

    def test_a_killed_runner_loses_nothing_committed_and_doubles_nothing(self, sqlite_url, recorder):
        actor = recorder(sqlite_url, "killed")
        remote = ray.remote(num_cpus=0)(EnvRunner)
        config = PPOConfig().environment("CartPole-v1").callbacks([RecordEpisodes])
        config.env_runners(num_env_runners=1)
        runner = remote.remote(config=config, worker_index=1)
        ray.get(runner.sample.remote(num_timesteps=300))
        ray.get(runner.apply.remote(flush_runner))
        ray.get(actor.flush.remote())
        committed = rows(sqlite_url, "select * from steps order by episode, t")
        assert len(committed) == 300
        ray.get(runner.sample.remote(num_timesteps=50))
        pid = ray.get(runner.apply.remote(lambda _: os.getpid()))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ray.exceptions.RayActorError):
            ray.get(runner.sample.remote(num_timesteps=1))

        again = remote.remote(config=config, worker_index=1)
        ray.get(again.sample.remote(num_timesteps=100))
        ray.get(again.apply.remote(flush_runner))
        ray.get(actor.flush.remote())
        ray.kill(again)
        assert rows(sqlite_url, "select * from steps order by episode, t")[:300] == committed
        by_incarnation = dict(rows(sqlite_url, "select incarnation, sum(length) from episodes group by incarnation"))
        assert by_incarnation[1] == 100
        # The 50 steps were on their way at most: all of them or none.
        assert by_incarnation[0] in (300, 350)
        assert rows(sqlite_url, GAPS) == []

    def test_a_killed_driver_goes_on_from_the_checkpoint_and_the_live_rows_are_its_counters(self, tmp_path, ray_nodes):
        script = Path(__file__).with_name("recorded_run.py")

        def drive(attempt, iterations, kill_after=0):
            arguments = [str(tmp_path), "uid-1", str(attempt), str(iterations), str(kill_after)]
            environ = os.environ | {"RAY_ADDRESS": ray_nodes.address}
            done = subprocess.run([sys.executable, str(script), *arguments], check=False, timeout=240, env=environ)
            return done.returncode

        url = f"sqlite:///{tmp_path}/database/recording.sqlite"
        assert drive(1, iterations=6, kill_after=3) == -signal.SIGKILL
        # Iteration 3 came after the checkpoint of iteration 2, and was committed.
        before = rows(url, "select * from steps order by episode, t")
        assert rows(url, "select iteration from live_iterations order by 1") == [(1,), (2,), (3,)]

        assert drive(2, iterations=4) == 0
        counters = json.loads((tmp_path / "counters.json").read_text())
        assert (counters["restored"], counters["lost"]) == (2, 1)
        assert rows(url, "select * from steps order by episode, t")[: len(before)] == before
        assert rows(url, "select attempt, iteration from live_iterations order by 1, 2") == [
            (1, 1),
            (1, 2),
            (2, 3),
            (2, 4),
        ]
        assert rows(url, "select count(*) from live_steps") == [(counters["env_steps"],)]
        assert rows(url, "select count(*) from live_episodes where ended is not null") == [(counters["episodes"],)]
        assert rows(url, "select count(*) > (select count(*) from live_steps) from steps")[0][0]
        assert rows(url, "select attempt, superseded_by from trials order by 1") == [(1, 2), (2, None)]
        assert rows(url, GAPS) == []
