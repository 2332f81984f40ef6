"""Packages of the run: installed once beside the image's, which stay as they are. pip sees no network here."""

import json
import os
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.wheels import wheel
from trainyard.runs.packages import FIELD, VARIABLE, Requirements, RequirementsNotInstalled, of
from trainyard.spec.parsing import parse


@pytest.fixture(autouse=True)
def no_other_packages(monkeypatch):
    """Nothing but the test says where packages are."""
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def path(monkeypatch):
    """sys.path goes back to what it was."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def requirements(tmp_path: Path, *packages: str) -> Requirements:
    return Requirements(str(tmp_path / "own"), packages, ("--no-index", f"--find-links={tmp_path / 'wheels'}"))


@pytest.mark.usefixtures("path")
class TestEntering:
    def test_a_wheel_of_a_folder_can_be_imported(self, tmp_path):
        wheel(tmp_path / "wheels", "own_by_name", "1.2", {"own_by_name.py": "WORTH = 7\n"})
        requirements(tmp_path, "own-by-name==1.2").enter()
        import own_by_name

        assert own_by_name.WORTH == 7

    def test_a_wheel_at_a_path_can_be_imported_and_what_the_image_has_is_not_installed_again(self, tmp_path):
        file = wheel(tmp_path / "wheels", "own_by_path", "1.0", {"own_by_path.py": ""}, requires=["numpy>=1.20"])
        own = requirements(tmp_path, f"own-by-path @ {file.as_uri()}")
        own.enter()
        import own_by_path

        (folder,) = own.paths()
        assert Path(own_by_path.__file__).parent == Path(folder)
        assert not Path(folder, "numpy").exists()

    def test_several_processes_install_once(self, tmp_path):
        wheel(tmp_path / "wheels", "own_once", "1.0", {"own_once.py": ""})
        own = requirements(tmp_path, "own-once")
        own.enter()
        made = Path(own.paths()[0], "own_once.py").stat().st_mtime_ns
        (tmp_path / "wheels" / "own_once-1.0-py3-none-any.whl").unlink()
        threads = [threading.Thread(target=own.enter) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Path(own.paths()[0], "own_once.py").stat().st_mtime_ns == made


class TestRefusals:
    def test_what_pip_cannot_find_is_the_users_error_with_its_last_words(self, tmp_path):
        with pytest.raises(RequirementsNotInstalled) as error:
            requirements(tmp_path, "nobody-has-this==9").enter()
        assert error.value.field == FIELD
        assert str(error.value).startswith(f"{FIELD}: pip could not install nobody-has-this==9 (exit code 1)")
        assert "No matching distribution found for nobody-has-this==9" in str(error.value)

    def test_another_version_of_what_the_image_has_is_refused(self, tmp_path):
        file = wheel(tmp_path / "wheels", "click", "99.0", {"click/__init__.py": ""})
        with pytest.raises(RequirementsNotInstalled, match="packages of the image keep their versions") as error:
            requirements(tmp_path, "click==99.0").enter()
        assert f"click=={version('click')}" in str(error.value)
        with pytest.raises(RequirementsNotInstalled):
            Requirements(str(tmp_path / "by-path"), (f"click @ {file.as_uri()}",), ("--no-index",)).enter()

    def test_the_processes_after_the_first_get_its_answer_without_pip(self, tmp_path):
        own = requirements(tmp_path, "own-late")
        with pytest.raises(RequirementsNotInstalled) as first:
            own.enter()
        wheel(tmp_path / "wheels", "own_late", "1.0", {"own_late.py": ""})
        with pytest.raises(RequirementsNotInstalled) as second:
            own.enter()
        assert str(second.value) == str(first.value)

    def test_a_folder_that_cannot_be_written_is_named(self, tmp_path):
        (tmp_path / "own").write_text("a file")
        with pytest.raises(RequirementsNotInstalled, match="own cannot be written"):
            requirements(tmp_path, "six").enter()


def test_a_program_finds_packages_and_scripts_and_keeps_its_jobs_runtime_environment(tmp_path):
    script = {"own_program-1.0.dist-info/entry_points.txt": "[console_scripts]\nown-script = own_program:main\n"}
    code = "def main():\n    print('from the script')\n"
    wheel(tmp_path / "wheels", "own_program", "1.0", {"own_program.py": code} | script)
    own = requirements(tmp_path, "own-program")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))
        own.enter()
    job = {"runtime_env": {"env_vars": {"A": "1"}, "working_dir": "x"}, "metadata": {"m": "1"}}
    given = own.for_program(dict(os.environ) | {"RAY_JOB_CONFIG_JSON_ENV_VAR": json.dumps(job)})
    command = f"own-script && {sys.executable} -c 'import own_program; own_program.main()'"
    done = subprocess.run(command, shell=True, env=given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["from the script"] * 2
    told = json.loads(given["RAY_JOB_CONFIG_JSON_ENV_VAR"])
    assert told["metadata"] == {"m": "1"}
    assert told["runtime_env"]["working_dir"] == "x"
    assert set(told["runtime_env"]["env_vars"]) == {"A", VARIABLE}
    assert told["runtime_env"]["worker_process_setup_hook"] == "trainyard.runs.packages.enter_of_environment"


def test_every_run_has_a_folder_of_its_own_and_one_without_packages_none(tmp_path):
    spec = {"trainable": {"function": "a:b"}, "runtimeEnv": {"pip": ["six"], "pipInstallOptions": ["--pre"]}}
    first, second = of(parse(spec), tmp_path), of(parse(spec), tmp_path)
    assert first is not None
    assert second is not None
    assert first.folder != second.folder
    assert (Path(first.folder).parent, first.packages, first.options) == (tmp_path, ("six",), ("--pre",))
    assert of(parse({"trainable": {"function": "a:b"}})) is None
    assert of(parse({"trainable": {"function": "a:b"}, "runtimeEnv": {}})) is None
