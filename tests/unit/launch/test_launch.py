"""What a start needs and what every end means: exit codes, final lines, no heavy imports."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
from rich.console import Console

from trainyard.errors import InvalidConfiguration, StorageNotWritable, Terminated, TrainyardError, root_cause
from trainyard.launch.cluster import drive
from trainyard.launch.connection import connect
from trainyard.launch.endings import execute
from trainyard.launch.reading import identity_of, open_storage, progress_path
from trainyard.progress.channel import Progress, ProgressFile
from trainyard.runs import storage
from trainyard.runs.job import Job
from trainyard.runs.run import Identity
from trainyard.spec.parsing import parse


@pytest.fixture
def handlers():
    """`execute` takes SIGTERM over for the life of its process; a test's process goes on."""
    saved = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, saved)


@pytest.mark.usefixtures("handlers")
class TestEnds:
    def end(self, tmp_path, body):
        tmp_path.mkdir(exist_ok=True)
        path = tmp_path / "p.jsonl"
        output = io.StringIO()
        code = execute(body, Progress(ProgressFile(path, "job")), Console(file=output, width=200))
        final = json.loads(path.read_text().splitlines()[-1])
        assert final["final"] is True
        return code, final, output.getvalue()

    def test_success_is_0_with_the_summary(self, tmp_path):
        code, final, _ = self.end(tmp_path, lambda: {"iterations": 3})
        assert code == 0
        assert final["summary"] == {"iterations": 3}
        assert "failure" not in final

    @pytest.mark.parametrize(
        ("error", "code", "kind", "reason"),
        [
            (InvalidConfiguration.of("spec.seed", "is 'x'", "write a number"), 2, "User", "InvalidConfiguration"),
            (StorageNotWritable("spec.storage: no"), 2, "User", "StorageNotWritable"),
            (TrainyardError("no"), 1, "Run", "TrainyardError"),
            (ZeroDivisionError("no fuel"), 1, "Run", "ZeroDivisionError"),
            (Terminated("SIGTERM"), 143, "Run", "Terminated"),
            (KeyboardInterrupt(), 130, "Run", "Interrupted"),
        ],
    )
    def test_each_error_has_its_exit_code_and_reason(self, tmp_path, error, code, kind, reason, capsys):
        def body():
            raise error

        found, final, _ = self.end(tmp_path, body)
        assert found == code
        assert (final["failure"]["kind"], final["failure"]["reason"]) == (kind, reason)

    def test_a_sigterm_of_which_ray_leaves_a_keyboard_interrupt_is_still_one(self, tmp_path):
        def interrupted():
            raise KeyboardInterrupt

        def terminated():
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Terminated:
                interrupted()

        code, final, _ = self.end(tmp_path / "first", terminated)
        assert (code, final["failure"]["reason"]) == (143, "Terminated")
        code, final, _ = self.end(tmp_path / "second", interrupted)
        assert (code, final["failure"]["reason"]) == (130, "Interrupted")

    def test_the_users_error_names_its_field_and_shows_no_traceback(self, tmp_path):
        def body():
            raise InvalidConfiguration.of("spec.seed", "is 'x'", "write a number")

        _, final, output = self.end(tmp_path, body)
        assert final["failure"]["field"] == "spec.seed"
        assert output == "InvalidConfiguration: spec.seed: is 'x'; write a number\n"

    def test_an_unexpected_error_says_first_what_it_is_and_where_in_the_users_file(self, tmp_path, capsys):
        file = tmp_path / "my_env.py"
        file.write_text("import json\n\ndef step(x):\n    return json.loads(x)\n")
        names = {}
        exec(compile(file.read_text(), str(file), "exec"), names)

        _, final, _ = self.end(tmp_path, lambda: names["step"]("{"))
        first, trace = final["failure"]["message"].split("\n", 1)
        assert first.startswith("JSONDecodeError: Expecting property name")
        assert first.endswith(f"({file}, line 4, in step)")
        assert trace.startswith("Traceback")
        assert "in raw_decode" in trace

    def test_an_endless_message_leaves_room_for_the_line_and_the_end_of_the_traceback(self, tmp_path, capsys):
        def simulate():
            raise ValueError("bad " * 5000)

        _, final, _ = self.end(tmp_path, simulate)
        message = final["failure"]["message"]
        assert message.startswith("ValueError: bad bad")
        assert "in simulate)" in message
        assert len(message) <= 2048

    def test_an_error_of_a_remote_process_says_the_line_there(self, tmp_path, capsys):
        class RemoteError(RuntimeError):
            cause = ZeroDivisionError("no fuel")

        text = (
            "ray::EnvRunner.sample() (pid=7)\n"
            '  File "/opt/lib/python3.11/site-packages/ray/rllib/env.py", line 3, in sample\n'
            '  File "/workdir/my_env.py", line 12, in step\n    fuel()\n'
            '  File "/opt/lib/python3.11/site-packages/numpy/core.py", line 9, in divide\nZeroDivisionError: no fuel'
        )

        def body():
            raise RemoteError(text)

        _, final, _ = self.end(tmp_path, body)
        first = "ZeroDivisionError: no fuel (/workdir/my_env.py, line 12, in step)"
        assert final["failure"]["message"] == f"{first}\n{text}"
        assert final["failure"]["reason"] == "ZeroDivisionError"

    def test_a_line_in_an_installed_package_of_the_users_is_found_too(self, tmp_path, capsys):
        class RemoteError(RuntimeError):
            cause = KeyError("price")

        text = (
            '  File "/opt/lib/python3.11/site-packages/team_envs/env.py", line 5, in reset\n'
            '  File "/opt/lib/python3.11/site-packages/gymnasium/core.py", line 9, in reset\n'
            '  File "/opt/lib/python3.11/json/decoder.py", line 9, in decode\nKeyError'
        )

        def body():
            raise RemoteError(text)

        _, final, _ = self.end(tmp_path, body)
        assert "(/opt/lib/python3.11/site-packages/team_envs/env.py, line 5, in reset)\n" in final["failure"]["message"]

    def test_an_error_inside_rays_wrapping_keeps_its_own_kind(self, tmp_path):
        class Wrapped(RuntimeError):
            cause = InvalidConfiguration.of("spec.environment.config", "has no asset")

        def body():
            raise Wrapped("remote traceback")

        code, final, _ = self.end(tmp_path, body)
        assert (code, final["failure"]["field"]) == (2, "spec.environment.config")
        assert root_cause(Wrapped()) is Wrapped.cause


def test_the_driver_says_where_it_belongs(tmp_path, capsys):
    assert drive({"TRAINYARD_PROGRESS_DIR": str(tmp_path / "none")}) == 1
    assert "runs on the head of a Ray cluster" in capsys.readouterr().out


@pytest.mark.usefixtures("handlers")
def test_a_driver_without_a_specification_refuses_to_start(tmp_path):
    assert drive({"TRAINYARD_PROGRESS_DIR": str(tmp_path)}) == 2
    assert "TRAINYARD_RUN" in (tmp_path / "trainyard-local.jsonl").read_text()


def test_the_progress_file_is_in_the_log_folder_of_the_rays_session():
    path = progress_path({"TRAINYARD_JOB_ID": "ty-u-1-1"})
    assert str(path) == "/tmp/ray/session_latest/logs/trainyard-ty-u-1-1.jsonl"


def test_identity_comes_from_the_object_and_the_operators_counters():
    metadata = {"name": "n", "namespace": "ns", "uid": "u"}
    environ = {"TRAINYARD_JOB_ID": "j", "TRAINYARD_ATTEMPT": "2", "TRAINYARD_SUBMISSION": "3"}
    assert identity_of({"metadata": metadata}, environ) == Identity("n", "ns", "u", "j", 2, 3)


def test_storage_of_a_cluster_is_the_runs_own_folder(tmp_path):
    spec = {"entrypoint": "x", "resources": {"cpus": 1}, "storage": {"uri": tmp_path.as_uri()}}
    place = open_storage(parse(spec), Identity("n", "ns", "u"), Progress(ProgressFile(tmp_path / "p", "job")))
    assert place.local == tmp_path / "ns" / "n" / "u"
    assert place.kept


def test_a_run_without_storage_says_that_its_checkpoints_are_lost(tmp_path, monkeypatch):
    monkeypatch.setattr("trainyard.runs.storage.EPHEMERAL", tmp_path / "ephemeral")
    progress = Progress(ProgressFile(tmp_path / "p", "job"))
    place = open_storage(parse({"entrypoint": "x", "resources": {"cpus": 1}}), Identity("n", job_id="j"), progress)
    assert not place.kept
    assert place.local == tmp_path / "ephemeral" / "j"
    assert progress.snapshot["conditions"][0]["type"] == "CheckpointsNotKept"


def test_importing_the_package_and_its_command_imports_neither_ray_nor_torch():
    code = (
        "import sys, trainyard.cli, trainyard.launch.local, trainyard.launch.cluster; "
        "print(sorted({'ray', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "[]"


def started(folder, spec):
    sink = Progress(ProgressFile(folder / "p.jsonl", "job"))
    place = storage.at_directory(folder / "run")
    return Job(Identity("run"), parse(spec), {"spec": spec}, place, sink, Console(quiet=True))


@pytest.mark.parametrize(
    ("section", "field"),
    [
        ({"environment": {"name": "CartPole-v9"}}, "spec.environment.name"),
        (
            {
                "environment": {"name": "trading", "config": {"asset": "AAPL", "window": 5}},
                "test": {"environmentConfig": {"window": 9}},
            },
            "spec.test.environmentConfig",
        ),
    ],
)
def test_an_environment_that_cannot_be_made_is_told_before_ray_is_started(tmp_path, section, field):
    spec = {"algorithm": {"name": "PPO"}, "stop": {"iterations": 1}} | section
    connected = []
    with pytest.raises(InvalidConfiguration, match=field):
        connect(connected.append, started(tmp_path, spec))
    assert connected == []


def test_a_trainable_that_is_not_there_is_told_before_ray_is_started(tmp_path):
    connected = []
    with pytest.raises(InvalidConfiguration, match="did you mean 'train'"):
        connect(connected.append, started(tmp_path, {"trainable": {"function": "trainyard.examples.tune_grid:trian"}}))
    assert connected == []


def test_the_environment_is_made_in_the_main_thread_which_some_need(tmp_path, monkeypatch):
    class Reached(Exception):
        pass

    def chosen(specification):
        assert threading.current_thread() is threading.main_thread()
        raise Reached

    monkeypatch.setattr("trainyard.training.environment.chosen", chosen)
    spec = {"algorithm": {"name": "PPO"}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}}
    with pytest.raises(Reached):
        connect(lambda ray: None, started(tmp_path, spec))
