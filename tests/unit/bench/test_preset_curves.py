"""Curves of presets: what is kept of several runs, and a picture small enough for the repository."""

import subprocess
import sys
from argparse import Namespace

import gymnasium as gym
import numpy as np
import pytest

from tests.bench.curves import SMALL_PNG, Point, draw, keep, over_seeds, read
from tests.bench.preset_tasks import TASKS, play
from tests.bench.presets import Course, cpu_seconds_between, cpu_times, where_possible


def point(variant="Trainyard", seed=1, steps=1000, score=20.0):
    return Point(variant, "", seed, steps, 1.5, 1.25, score)


def test_the_same_variant_and_seed_gives_way_and_others_stay(tmp_path):
    table = tmp_path / "cartpole.csv"
    others = [point(seed=2), point(variant="Stable-Baselines3")]
    keep(table, [point(), point(steps=2000), *others])
    keep(table, [point(score=30.0)])
    assert read(table) == sorted([point(score=30.0), *others])


def test_scores_lie_on_the_line_between_two_checks():
    run = [point(steps=1000, score=10.0), point(steps=3000, score=30.0)]
    np.testing.assert_allclose(over_seeds(run, np.array([1000, 2000, 3000])), [[10, 20, 30]])


def test_a_picture_of_three_variants_is_small(tmp_path):
    generator = np.random.default_rng(1)
    points = [
        point(variant, seed, steps, float(generator.uniform(0, 500)))
        for variant in ("Stable-Baselines3", "Trainyard", "Trainyard, asynchronous")
        for seed in range(1, 6)
        for steps in range(1000, 60_001, 1000)
    ]
    draw("cartpole", points, tmp_path / "cartpole.png")
    assert 0 < (tmp_path / "cartpole.png").stat().st_size < SMALL_PNG


def constant(action):
    return lambda observations: np.full(len(observations), action)


def test_every_episode_of_a_check_is_played_to_its_end():
    episodes = play(constant(1), [gym.make("CartPole-v1") for _ in range(4)])
    assert [len(infos) - 1 for _, infos in episodes] == [total for total, _ in episodes]
    assert all(8 <= total <= 11 for total, _ in episodes)


def test_a_course_is_checked_in_its_rhythm_and_ends_after_its_steps():
    task = TASKS["cartpole"]
    course = Course(task, "x", 1, until_goal=True)
    for steps in (task.every - 1, task.every, task.every + 1, task.steps):
        assert not course.over
        course.after(steps, constant(0))
    assert [each.env_steps for each in course.points] == [task.every, task.steps]
    assert course.over
    assert course.solved_at() is None


@pytest.mark.parametrize(("until_goal", "over"), [(True, True), (False, False)])
def test_a_course_ends_at_the_goal_where_that_is_asked(until_goal, over):
    course = Course(TASKS["cartpole"], "x", 1, until_goal=until_goal)
    course.after(1000, balance)
    assert course.solved_at() == course.points[0]
    assert course.over is over


def balance(observations):
    """Pushes the cart to where the pole falls."""
    return (observations[:, 2] + 0.5 * observations[:, 3] + 0.05 * observations[:, 1] > 0).astype(int)


def test_a_preset_whose_environment_is_not_installed_is_skipped_with_the_reason(monkeypatch, capsys):
    for module in [name for name in sys.modules if name.startswith(("Box2D", "gymnasium.envs.box2d"))]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    assert where_possible(lambda options: {"seconds": 1.0})(Namespace(preset="lunar-lander")) == {}
    assert "lunar-lander is skipped" in capsys.readouterr().err
    assert where_possible(lambda options: {"seconds": 1.0})(Namespace(preset="pendulum")) == {"seconds": 1.0}


def test_cpu_time_counts_the_processes_that_were_started_and_nothing_of_those_that_have_ended():
    started = cpu_times()
    burn = "import time\nwhile time.process_time() < 0.5: pass\nprint('.', flush=True)\ninput()"
    with subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        burnt = cpu_times()
        assert cpu_seconds_between(started, burnt) > 0.45
        child.stdin.close()
    assert 0 <= cpu_seconds_between(burnt, cpu_times()) < 0.45
