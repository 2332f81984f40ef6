"""The recorder on SQLite and on PostgreSQL: what it writes, when, and what an earlier attempt's rows become."""

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from trainyard.episodes.records import MAIN_TRIAL, Batch, Chunk, RunRecord, Settings, Source, Trade, TrialRecord
from trainyard.errors import InvalidConfiguration
from trainyard.recording.database import VERSION_TABLE, insert_columns, migrate, open_database
from trainyard.recording.recorder import Recorder, RecordingError
from trainyard.recording.rows import action_texts
from trainyard.recording.schema import LIVE_VIEWS, Base, StepRow


@pytest.fixture(autouse=True)
def commits_only_when_asked(monkeypatch):
    """On a busy machine a second may pass between two lines of a test, and the second would commit."""
    monkeypatch.setattr("trainyard.recording.recorder.COMMIT_SECONDS", float("inf"))


def run_record(**changes):
    fields = {"identity": "uid-1", "name": "run", "namespace": "default", "uid": "uid-1", "job_id": "job"}
    fields |= {"seed": 1, "specification": {"a": 1}, "versions": {}, "hostname": "host"}
    fields |= {"cluster_attempt": 1, "submission": 1}
    return RunRecord(**fields | changes)


def chunk(n=0, *, start=0, rewards=(1.0, 2.0), finished=True, env=0, steps=True, **changes):
    rewards = np.array(rewards)
    return Chunk(
        env=env,
        n=n,
        start=start,
        length=len(rewards),
        total_reward=float(rewards.sum()),
        finished=finished,
        terminated=finished,
        actions=np.arange(len(rewards)) if steps else None,
        rewards=rewards if steps else None,
        **changes,
    )


def batch(*chunks, runner=1, incarnation=0, kind="train", trial=MAIN_TRIAL):
    return Batch(Source(trial, kind, runner, incarnation), list(chunks))


def list_of(value):
    return list(value) if isinstance(value, tuple | list) else value


def rows(engine, query):
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


class TestSchema:
    def test_the_migrations_give_exactly_the_schema_of_the_code(self, engine):
        with engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
            assert compare_metadata(context, Base.metadata) == []

    def test_migrating_again_changes_nothing(self, engine):
        migrate(engine)
        assert [rows(engine, f"select count(*) from {view}") for view in LIVE_VIEWS] == [[(0,)]] * len(LIVE_VIEWS)

    @pytest.mark.parametrize("url", ["nonsense", "mysql://user:hunter2@host/db"])
    def test_another_database_is_refused_without_showing_its_password(self, url):
        with pytest.raises(InvalidConfiguration) as error:
            open_database(url)
        assert "spec.recording.database" in str(error.value)
        assert "hunter2" not in str(error.value)


class TestRows:
    def test_an_episode_in_parts_becomes_one_row_with_all_its_steps(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(rewards=[1, 2], finished=False, context=[0.5, 1.0], episode_index=7)))
        recorder.flush()
        recorder.add(batch(chunk(start=2, rewards=[3], figures={"order_followed": 1.0}, policy_version=4)))
        recorder.flush()
        ((length, total, terminated, index, version, context, figures),) = rows(
            engine,
            "select length, total_reward, terminated, episode_index, policy_version, context, figures from episodes",
        )
        assert (length, total, bool(terminated), index, version) == (3, 6.0, True, 7, 4)
        assert ("0.5" in str(context), "order_followed" in str(figures)) == (True, True)
        assert rows(engine, "select t, reward, action from steps order by t") == [(0, 1, "0"), (1, 2, "1"), (2, 3, "0")]

    def test_parts_in_one_commit_become_one_row_too(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(rewards=[1, 2], finished=False), chunk(start=2, rewards=[3])))
        recorder.flush()
        assert rows(engine, "select length, total_reward from episodes") == [(3, 6.0)]

    def test_an_unfinished_episode_has_no_end(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(finished=False)))
        recorder.flush()
        assert rows(engine, "select ended, terminated from episodes") == [(None, None)]

    def test_without_steps_an_episode_still_has_its_length_and_return(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(steps=False)))
        recorder.flush()
        assert rows(engine, "select length, total_reward, steps_recorded from episodes") == [(2, 3.0, False)]
        assert rows(engine, "select count(*) from steps") == [(0,)]

    def test_market_steps_have_date_and_value_and_their_trades(self, engine):
        trades = [Trade(0, 0, "2020-01-02", "KO", 10.0, 50.0, 0.5), Trade(1, 0, "2020-01-03", "KO", -10.0, 51.0, 0.5)]
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(dates=["2020-01-03", "2020-01-06"], values=np.array([100.0, 101.0]), trades=trades)))
        recorder.flush()
        assert rows(engine, "select date, portfolio_value from steps order by t") == [
            ("2020-01-03", 100.0),
            ("2020-01-06", 101.0),
        ]
        assert rows(engine, "select t, n, date, symbol, quantity, price, cost from trades order by t") == [
            (0, 0, "2020-01-02", "KO", 10.0, 50.0, 0.5),
            (1, 0, "2020-01-03", "KO", -10.0, 51.0, 0.5),
        ]

    def test_episodes_carry_the_number_of_the_iteration_that_they_were_sampled_in(self, engine):
        recorder = Recorder(engine, run_record())
        for number in (1, 2):
            recorder.add(batch(chunk(n=number)))
            recorder.add_iteration(number, seconds=1.0, env_steps=2 * number, episodes=number, metrics={"x": 1.5})
        assert rows(engine, "select n, iteration from episodes order by n") == [(1, 1), (2, 2)]
        assert rows(engine, "select iteration, env_steps, episodes from iterations order by 1") == [
            (1, 2, 1),
            (2, 4, 2),
        ]

    def test_an_evaluation_and_its_episodes_are_one_commit(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add_evaluation(
            batch(chunk(), chunk(n=1), kind="validation", runner=0), iteration=3, seconds=0.5, metrics={"sharpe": 1.0}
        )
        assert rows(engine, "select kind, iteration, episodes from evaluations") == [("validation", 3, 2)]
        assert rows(engine, "select kind, iteration, n from episodes order by n") == [
            ("validation", 3, 0),
            ("validation", 3, 1),
        ]

    def test_an_attempt_ends_with_its_outcome(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk()))
        recorder.finish("2 of 2 iterations", {"overfitting/verdict": "No"})
        ((attempt, outcome, findings),) = rows(engine, "select attempt, outcome, findings from attempts")
        assert (attempt, outcome) == (1, "2 of 2 iterations")
        assert "overfitting/verdict" in str(findings)
        assert rows(engine, "select count(*) from steps") == [(2,)]

    def test_the_same_episode_twice_is_refused_by_the_database(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk()))
        recorder.flush()
        recorder.add(batch(chunk()))
        with pytest.raises(RecordingError):
            recorder.flush()

    def test_after_a_failure_nothing_more_is_written(self, engine):
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(), chunk()))
        for _ in range(2):
            with pytest.raises(RecordingError):
                recorder.add_iteration(1, seconds=1.0, env_steps=1, episodes=1, metrics={})
        assert rows(engine, "select count(*) from iterations") == [(0,)]

    def test_incarnations_of_a_runner_count_up(self, engine):
        recorder = Recorder(engine, run_record())
        joined = [recorder.register_runner("main", "train", runner) for runner in (1, 2, 1, 1)]
        assert joined == [0, 0, 1, 2]


class TestManyRows:
    def test_more_rows_than_fit_into_one_statement_are_all_written_with_their_own_values(self, engine):
        rewards = np.random.default_rng(0).normal(size=1_003)
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(rewards=rewards)))
        recorder.flush()
        assert rows(engine, "select t, reward, action from steps order by t") == [
            (t, reward, str(t)) for t, reward in enumerate(rewards.tolist())
        ]


class TestPacked:
    """A batch on its way to the recorder."""

    def test_what_arrives_is_what_was_sent(self):
        market = {"dates": ["2020-01-03", "2020-01-06"], "values": np.array([1.5, 2.5])}
        trades = [Trade(0, 0, "2020-01-02", "KO", 10.0, 50.0, 0.5), Trade(0, 1, None, "PEP", -1.0, 5.0, 0.0)]
        sent = batch(
            chunk(finished=False, trades=trades, **market),
            chunk(n=1, steps=False, context=[0.5], figures={"sharpe": 1.0}),
            chunk(start=2, rewards=[7.0, 8.0], trades=trades[:1], **market),
        )
        arrived = Batch.unpacked(sent.packed())
        assert arrived.source == sent.source
        assert len(arrived.chunks) == len(sent.chunks)
        for one, other in zip(sent.chunks, arrived.chunks, strict=True):
            for name, value in one._asdict().items():
                found = getattr(other, name)
                assert (
                    np.array_equal(found, value) if isinstance(value, np.ndarray) else list_of(found) == list_of(value)
                )

    def test_vectors_keep_their_shape_and_type(self):
        actions = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
        parts = [chunk(n=n)._replace(actions=actions[2 * n : 2 * n + 2]) for n in (0, 1)]
        arrived = Batch.unpacked(batch(*parts).packed())
        for part, other in zip(parts, arrived.chunks, strict=True):
            assert other.actions.dtype == np.float32
            assert np.array_equal(other.actions, part.actions)

    def test_no_chunks_are_none(self):
        assert Batch.unpacked(batch().packed()).chunks == []


class TestActions:
    def test_a_discrete_action_is_its_number(self):
        assert action_texts(np.array([0, 12])) == ["0", "12"]

    def test_a_vector_reads_back_exactly(self):
        import json

        actions = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
        assert np.array_equal(np.array([json.loads(item) for item in action_texts(actions)], np.float32), actions)


class TestSampledSteps:
    @pytest.mark.parametrize("fraction", [0.1, 0.25, 1 / 3, 1.0])
    def test_the_fraction_of_episodes_is_exact_in_the_long_run_and_starts_with_the_first(self, fraction):
        settings = Settings("Sampled", fraction)
        chosen = [settings.records_steps(n) for n in range(1200)]
        assert sum(chosen) == pytest.approx(1200 * fraction, abs=1)
        assert chosen[0]

    def test_all_and_off(self):
        assert Settings("All").records_steps(3)
        assert not Settings("Off").records_steps(0)


class TestAttempts:
    def test_rows_after_the_restored_checkpoint_stay_and_are_superseded(self, engine):
        first = Recorder(engine, run_record())
        first.add(batch(chunk(n=0)))
        checkpoint = first.flush()
        first.add(batch(chunk(n=1)))
        first.add_iteration(1, seconds=1.0, env_steps=4, episodes=2, metrics={})

        second = Recorder(engine, run_record(restored_position=checkpoint))
        second.add(batch(chunk(n=0, rewards=[5.0])))
        second.add_iteration(1, seconds=1.0, env_steps=3, episodes=2, metrics={})
        assert second.attempt == 2
        assert rows(engine, "select attempt, n from live_episodes order by attempt, n") == [(1, 0), (2, 0)]
        assert rows(engine, "select count(*) from episodes") == [(3,)]
        assert rows(engine, "select count(*) from live_steps") == [(3,)]
        assert rows(engine, "select count(*) from steps") == [(5,)]
        assert rows(engine, "select attempt, env_steps from live_iterations") == [(2, 3)]
        assert rows(engine, "select attempt, live_until, superseded_by from trials order by attempt") == [
            (1, checkpoint, 2),
            (2, None, None),
        ]

    def test_steps_before_the_checkpoint_of_an_episode_that_ended_after_it_stay_live(self, engine):
        first = Recorder(engine, run_record())
        first.add(batch(chunk(rewards=[1, 1], finished=False)))
        checkpoint = first.flush()
        first.add(batch(chunk(start=2, rewards=[1])))
        first.flush()
        Recorder(engine, run_record(restored_position=checkpoint))
        assert rows(engine, "select count(*) from live_steps") == [(2,)]
        assert rows(engine, "select count(*) from live_episodes where ended is not null") == [(0,)]

    def test_a_start_from_nothing_supersedes_everything(self, engine):
        Recorder(engine, run_record()).finish("lost")
        first = Recorder(engine, run_record())
        first.add(batch(chunk()))
        first.flush()
        Recorder(engine, run_record())
        assert rows(engine, "select count(*) from live_episodes") == [(0,)]

    def test_a_cut_never_moves_forward(self, engine):
        first = Recorder(engine, run_record())
        positions = []
        for n in range(3):
            first.add(batch(chunk(n=n)))
            positions.append(first.flush())
        second = Recorder(engine, run_record(restored_position=positions[0]))
        second.add(batch(chunk(n=0)))
        later = second.flush()
        Recorder(engine, run_record(restored_position=later))
        # the third attempt stands on the second, which stands on the first's first episode
        assert rows(engine, "select attempt, n from live_episodes order by attempt") == [(1, 0), (2, 0)]

    def test_a_recorder_that_was_left_behind_cannot_write_any_more(self, engine):
        old = Recorder(engine, run_record())
        Recorder(engine, run_record())
        old.add(batch(chunk()))
        with pytest.raises(RecordingError, match="another attempt of this run has begun"):
            old.flush()
        assert rows(engine, "select count(*) from episodes") == [(0,)]

    def test_two_runs_in_one_database_do_not_mix(self, engine):
        one, other = Recorder(engine, run_record()), Recorder(engine, run_record(identity="uid-2", uid="uid-2"))
        one.add(batch(chunk()))
        other.add(batch(chunk()))
        one.flush()
        other.flush()
        assert rows(engine, "select count(*), count(distinct run_id) from live_episodes") == [(2, 2)]


class TestSearch:
    """The trials of a search: rows of their own, in one database, by one recorder."""

    def test_each_trial_has_its_rows_and_its_end_and_there_is_no_main_trial(self, engine):
        recorder = Recorder(engine, run_record(is_search=True))
        for trial, lr in (("1", 0.1), ("2", 0.2)):
            recorder.add_trial(TrialRecord(trial, {"lr": lr}))
            recorder.add(batch(chunk(), trial=trial))
            recorder.add_iteration(1, seconds=1.0, env_steps=2, episodes=1, metrics={}, trial=trial)
        recorder.add(batch(chunk(n=1), trial="1"))
        recorder.end_trial("1", "2 of 2 iterations")
        recorder.finish("1 of 2 trials succeeded")
        assert rows(engine, "select trial, outcome from trials order by trial") == [
            ("1", "2 of 2 iterations"),
            ("2", "1 of 2 trials succeeded"),
        ]
        assert rows(engine, "select trial, n, iteration from live_episodes order by 1, 2") == [
            ("1", 0, 1),
            ("1", 1, 2),
            ("2", 0, 1),
        ]
        assert rows(engine, "select trial, iteration from live_iterations order by 1") == [("1", 1), ("2", 1)]

    def test_a_trial_keeps_the_first_end_that_it_was_given(self, engine):
        recorder = Recorder(engine, run_record(is_search=True))
        recorder.add_trial(TrialRecord("1"))
        recorder.end_trial("1", "ZeroDivisionError")
        recorder.end_trial("1", "ActorDiedError")
        assert rows(engine, "select outcome from trials") == [("ZeroDivisionError",)]

    def test_a_trial_goes_on_from_its_own_checkpoint_whatever_the_others_did(self, engine):
        first = Recorder(engine, run_record(is_search=True))
        first.add_trial(TrialRecord("1"))
        first.add_trial(TrialRecord("2"))
        first.add(batch(chunk(), trial="1"))
        checkpoint = first.flush()
        first.add(batch(chunk(), chunk(n=1), trial="2"))
        first.add(batch(chunk(n=1), trial="1"))
        first.flush()

        second = Recorder(engine, run_record(is_search=True))
        second.add_trial(TrialRecord("1", restored_iteration=4, restored_position=checkpoint))
        assert rows(engine, "select trial, n from live_episodes order by 1, 2") == [("1", 0), ("2", 0), ("2", 1)]
        second.add(batch(chunk(), trial="1"))
        second.add_trial(TrialRecord("2"))
        second.flush()
        assert rows(engine, "select attempt, trial, n, iteration from live_episodes order by 1, 2, 3") == [
            (1, "1", 0, 1),
            (2, "1", 0, 5),
        ]
        assert rows(engine, "select attempt, trial, live_until, superseded_by from trials order by 1, 2") == [
            (1, "1", checkpoint, 2),
            (1, "2", 0, 2),
            (2, "1", None, None),
            (2, "2", None, None),
        ]


class TestLostConnection:
    """A connection that breaks in the middle or just after a commit costs nothing and doubles nothing."""

    @pytest.fixture
    def broken_once(self, monkeypatch):
        monkeypatch.setattr("trainyard.recording.recorder.RETRY_SECONDS", 0.0)

        def install(engine, when):
            broken = []

            def fail(*_):
                if not broken:
                    broken.append(True)
                    error = OperationalError("statement", {}, Exception("gone"), connection_invalidated=True)
                    raise error

            event.listen(engine, when, fail)
            return broken

        return install

    def test_a_statement_that_fails_is_written_by_the_next_try(self, engine, broken_once):
        recorder = Recorder(engine, run_record())
        broken = broken_once(engine, "before_cursor_execute")
        recorder.add(batch(chunk(), chunk(n=1, finished=False)))
        recorder.flush()
        recorder.add(batch(chunk(n=1, start=2, rewards=[7])))
        recorder.flush()
        assert broken
        assert rows(engine, "select n, length from episodes order by n") == [(0, 2), (1, 3)]

    @pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
    def test_a_connection_that_is_lost_before_the_steps_are_copied_is_made_again(self, engine, monkeypatch):
        monkeypatch.setattr("trainyard.recording.recorder.RETRY_SECONDS", 0.0)
        lost = []

        def lose_once(connection, table, *arguments, **constants):
            if table is StepRow and not lost:
                lost.append(connection.scalar(text("select pg_backend_pid()")))
                rows(engine, f"select pg_terminate_backend({lost[0]}, 10000)")
            insert_columns(connection, table, *arguments, **constants)

        monkeypatch.setattr("trainyard.recording.rows.insert_columns", lose_once)
        recorder = Recorder(engine, run_record())
        recorder.add(batch(chunk(), chunk(n=1)))
        recorder.flush()
        assert lost
        assert rows(engine, "select n, length from episodes order by n") == [(0, 2), (1, 2)]
        assert rows(engine, "select count(*) from steps") == [(4,)]

    def test_a_commit_that_had_arrived_is_not_repeated(self, engine, monkeypatch):
        monkeypatch.setattr("trainyard.recording.recorder.RETRY_SECONDS", 0.0)
        recorder = Recorder(engine, run_record())
        commit = engine.dialect.do_commit
        calls = []

        def commit_and_break(connection):
            commit(connection)
            calls.append(True)
            if len(calls) == 1:
                raise OperationalError("commit", {}, Exception("gone"), connection_invalidated=True)

        monkeypatch.setattr(engine.dialect, "do_commit", commit_and_break)
        recorder.add(batch(chunk(finished=False)))
        recorder.flush()
        recorder.add(batch(chunk(start=2, rewards=[7])))
        recorder.flush()
        assert rows(engine, "select length, total_reward from episodes") == [(3, 10.0)]
        assert rows(engine, "select count(*) from steps") == [(3,)]
