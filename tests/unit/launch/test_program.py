"""`trainyard drive-entrypoint` as the operator starts it."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import pytest

SCHEMA = jsonschema.Draft202012Validator(
    json.loads((Path(__file__).parents[3] / "manifests" / "contract" / "progress.schema.json").read_text())
)


def start(tmp_path, spec):
    document = {
        "apiVersion": "trainyard.dev/v1alpha1",
        "kind": "TrainingRun",
        "metadata": {"name": "program", "namespace": "default", "uid": "u"},
        "spec": {"seed": 1} | spec,
    }
    environ = {
        "TRAINYARD_RUN": json.dumps(document),
        "TRAINYARD_JOB_ID": "ty-u-1-1",
        "TRAINYARD_PROGRESS_DIR": str(tmp_path),
    }
    return subprocess.Popen(
        [sys.executable, "-m", "trainyard.cli", "drive-entrypoint"],
        env=dict(os.environ) | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process, tmp_path):
    output, _ = process.communicate(timeout=30)
    lines = [json.loads(line) for line in (tmp_path / "trainyard-ty-u-1-1.jsonl").read_text().splitlines()]
    for line in lines:
        SCHEMA.validate(line)
        assert line["jobId"] == "ty-u-1-1"
    assert lines[-1]["final"] is True
    return process.returncode, output, lines


def entrypoint(command):
    return {"entrypoint": command, "resources": {"cpus": 1}}


def program(text):
    return entrypoint(f"{sys.executable} -c '{text}'")


def test_a_program_reports_its_progress_and_ends_well(tmp_path):
    text = 'import trainyard; print("hello"); trainyard.report(percent=50, iteration=1, metrics={"reward": 3.5})'
    code, output, lines = finish(start(tmp_path, program(text)), tmp_path)
    assert code == 0
    assert "hello" in output
    assert [line["progress"].get("percent") for line in lines] == [None, 50, 100]
    assert lines[-1]["summary"] == {"reward": 3.5}


def test_a_failing_program_gives_its_exit_code_and_its_last_lines(tmp_path):
    code, _, lines = finish(start(tmp_path, entrypoint("echo one; echo two >&2; exit 7")), tmp_path)
    assert code == 7
    assert lines[-1]["failure"]["reason"] == "ExitCode7"
    assert lines[-1]["failure"]["message"].endswith("one\ntwo\n")


def test_a_killed_program_gives_the_shells_exit_code(tmp_path):
    code, _, lines = finish(start(tmp_path, entrypoint("kill -9 $$")), tmp_path)
    assert code == 137
    assert lines[-1]["failure"]["reason"] == "ExitCode137"


def test_a_refused_specification_is_the_users_error(tmp_path):
    code, output, lines = finish(start(tmp_path, {"entrypoint": "true"}), tmp_path)
    assert code == 2
    assert lines[-1]["failure"]["kind"] == "User"
    assert lines[-1]["failure"]["field"] == "spec.resources"
    assert "spec.resources" in output


@pytest.mark.parametrize("command", ["sleep 60", "trap '' TERM; sleep 60 & wait"], ids=["sleeps", "ignores SIGTERM"])
def test_sigterm_ends_the_program_and_writes_the_final_line(tmp_path, command):
    process = start(tmp_path, entrypoint(f"echo ready; {command}"))
    assert process.stdout.readline() == "ready\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    code, _, lines = finish(process, tmp_path)
    assert time.monotonic() - began < 10
    assert code == 143
    assert lines[-1]["failure"]["reason"] == "Terminated"


def test_what_the_shell_has_started_has_time_to_end_by_itself_after_sigterm(tmp_path):
    saves = (
        "import signal, sys, time\n"
        "def save(*_):\n    time.sleep(0.5); print('saved', flush=True); sys.exit()\n"
        "signal.signal(signal.SIGTERM, save)\nprint('ready', flush=True)\ntime.sleep(60)\n"
    )
    (tmp_path / "saves.py").write_text(saves)
    process = start(tmp_path, entrypoint(f"{sys.executable} {tmp_path}/saves.py; true"))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    code, output, _ = finish(process, tmp_path)
    assert (code, output) == (143, "saved\n")


def test_a_run_is_over_when_its_program_is_and_not_when_what_it_left_running_is(tmp_path):
    began = time.monotonic()
    command = f"sleep 300 & echo $! > {tmp_path}/left; echo done"
    code, output, lines = finish(start(tmp_path, entrypoint(command)), tmp_path)
    assert (code, output) == (0, "done\n")
    assert lines[-1]["progress"]["percent"] == 100
    assert time.monotonic() - began < 20
    left = int((tmp_path / "left").read_text())
    deadline = time.monotonic() + 5
    while Path(f"/proc/{left}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not Path(f"/proc/{left}").exists(), "a server in the background ends with the program"


def test_a_failing_program_with_a_background_process_that_writes_on_is_over_too(tmp_path):
    command = "while true; do echo noise; done & sleep 0.2; echo last >&2; exit 3"
    code, _, lines = finish(start(tmp_path, entrypoint(command)), tmp_path)
    assert (code, lines[-1]["failure"]["reason"]) == (3, "ExitCode3")


def test_a_program_that_closes_its_output_goes_on(tmp_path):
    code, output, _ = finish(
        start(tmp_path, entrypoint(f"echo open; exec >&- 2>&-; sleep 0.5; touch {tmp_path}/end")), tmp_path
    )
    assert (code, output) == (0, "open\n")
    assert (tmp_path / "end").exists()


@pytest.mark.parametrize("size", [10, 64 * 1024, 3_000_001], ids=["a few bytes", "a full pipe", "many pipes"])
def test_nothing_of_the_output_is_lost(tmp_path, size):
    text = f'import sys; sys.stdout.write("\u00e4" + "x" * {size} + "end")'
    code, output, _ = finish(start(tmp_path, program(text)), tmp_path)
    assert code == 0
    assert output == "\u00e4" + "x" * size + "end"
