"""The run's own packages, `spec.runtimeEnv`: installed once on every node, beside what its image has.

They go into a small environment of the run on top of the image's own, which stays as it is: pip may add packages there
but no other version of one that the image has, because a process has imported those before. Every worker process of
the run's job enters it as it starts; the first on a node installs, the others wait for it. docs/decisions/0007 says why
this is not Ray's own `pip` environment.
"""

from __future__ import annotations

import fcntl
import importlib
import importlib.util
import json
import os
import re
import site
import socket
import subprocess
import sys
import sysconfig
import tempfile
import uuid
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from trainyard import cleanup
from trainyard.errors import UserError
from trainyard.spec.sections import Specification

FIELD = "spec.runtimeEnv.pip"
VARIABLE = "TRAINYARD_REQUIREMENTS"
HOOK = "trainyard.runs.packages.enter_of_environment"
LAST_WORDS = 20
"""Lines of pip's output that are told."""
_JOB_CONFIG_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Where a program's own `ray.init` finds what its job was submitted with (Ray's Jobs API sets it, too)."""


class RequirementsNotInstalled(UserError):
    """pip could not install `spec.runtimeEnv.pip`."""

    field = FIELD


@dataclass(frozen=True)
class Requirements:
    """What to install and where; the folder is the same on every node, and of this run alone."""

    folder: str
    packages: tuple[str, ...]
    options: tuple[str, ...] = ()

    def enter(self) -> None:
        """Make the packages importable in this process; where nobody has, install them first.

        Raises:
            RequirementsNotInstalled: with pip's last words; on one node they are the same for every process.
        """
        self._install_once()
        importlib.invalidate_caches()
        for path in self.paths():
            site.addsitedir(path)

    def paths(self) -> list[str]:
        """The folders of the packages, for sys.path."""
        base = {"base": str(self._environment), "platbase": str(self._environment)}
        return list(dict.fromkeys(sysconfig.get_path(kind, "venv", base) for kind in ("purelib", "platlib")))

    def runtime_env(self) -> dict[str, Any]:
        """What `ray.init` gives to every worker process of the job."""
        return {"env_vars": {VARIABLE: json.dumps(asdict(self))}, "worker_process_setup_hook": HOOK}

    def for_program(self, environ: Mapping[str, str]) -> dict[str, str]:
        """The environment variables of a program that finds the packages, and whose Ray job does so, too."""
        config = json.loads(environ.get(_JOB_CONFIG_VARIABLE) or "{}")
        given, own = config.get("runtime_env") or {}, self.runtime_env()
        variables = {**given.get("env_vars", {}), **own["env_vars"]}
        config["runtime_env"] = {**given, **own, "env_vars": variables}
        return {
            **environ,
            "PYTHONPATH": _behind(environ.get("PYTHONPATH"), *self.paths()),
            # Behind: it has the environment's `python`, too, and the image's is the one that Ray's workers are.
            "PATH": _behind(environ.get("PATH"), str(self._environment / "bin")),
            _JOB_CONFIG_VARIABLE: json.dumps(config),
        }

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """An error in here is the requirements' own where a worker process could not enter them.

        Of such a process Ray says only that it died; what it wrote before is asked for.
        """
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            if said := _told(self.folder):
                raise RequirementsNotInstalled(said) from error
            raise

    @property
    def _environment(self) -> Path:
        return Path(self.folder) / "environment"

    def _install_once(self) -> None:
        folder = Path(self.folder)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = (folder / "lock").open("w")
        except OSError as error:
            raise RequirementsNotInstalled(f"{FIELD}: {folder} cannot be written: {error}") from error
        installed, failure = folder / "installed", folder / "failure"
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if failure.exists():
                raise RequirementsNotInstalled(failure.read_text())
            if installed.exists():
                return
            try:
                self._install()
            except RequirementsNotInstalled as error:
                failure.write_text(str(error))
                raise
            installed.touch()

    def _install(self) -> None:
        if importlib.util.find_spec("pip") is None:
            raise RequirementsNotInstalled(f"{FIELD}: {sys.executable} has no pip; use an image that has it")
        venv.EnvBuilder(with_pip=False, symlinks=True).create(self._environment)
        Path(self.paths()[0], "trainyard-image.pth").write_text(_image_on_the_path())
        constraints = Path(self.folder) / "constraints.txt"
        constraints.write_text(_versions_of_the_image())
        command = [str(self._environment / "bin" / "python"), "-m", "pip", "install", "--disable-pip-version-check",
                   "--no-input", "--progress-bar=off", f"--constraint={constraints}", *self.options,
                   *self.packages]  # fmt: skip
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise RequirementsNotInstalled(
                f"{FIELD}: pip could not install {', '.join(self.packages)} (exit code {done.returncode}); correct the "
                "field, or spec.runtimeEnv.pipInstallOptions; packages of the image keep their versions. pip's last "
                f"words:\n{_last_words(done.stdout)}"
            )


def of(specification: Specification, parent: Path | None = None) -> Requirements | None:
    """The requirements of a run, to be installed below `parent` (else this machine's temporary folder); None: none."""
    wanted = specification.runtime_env
    if wanted is None or not wanted.pip:
        return None
    folder = (parent or Path(tempfile.gettempdir())) / f"trainyard-requirements-{uuid.uuid4().hex[:12]}"
    return Requirements(str(folder), tuple(wanted.pip), tuple(wanted.pip_install_options))


def enter_of_environment() -> None:
    """Enter the requirements that the job gave to this worker process (a `worker_process_setup_hook` of Ray)."""
    given = json.loads(os.environ[VARIABLE])
    if cleanup.is_removed(Path(given["folder"])):
        return  # This process began after the clean-up, and nothing of the run follows.
    try:
        Requirements(given["folder"], tuple(given["packages"]), tuple(given["options"])).enter()
    except RequirementsNotInstalled as error:
        _tell(given["folder"], f"on {socket.gethostname()}: {error}")
        raise


def _tell(folder: str, said: str) -> None:
    """Leave a message for the driver, in the key-value store of the Ray cluster."""
    from ray.experimental.internal_kv import _internal_kv_put

    _internal_kv_put(f"{VARIABLE}:{folder}".encode(), said.encode())


def _told(folder: str) -> str:
    from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_initialized

    said = _internal_kv_get(f"{VARIABLE}:{folder}".encode()) if _internal_kv_initialized() else None
    return said.decode() if said else ""


def _behind(paths: str | None, *own: str) -> str:
    return os.pathsep.join([*filter(None, [paths]), *own])


def _image_on_the_path() -> str:
    """A .pth line that puts the site-packages of this interpreter behind the environment's own."""
    folders = site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])
    return "import site; " + "; ".join(f"site.addsitedir({folder!r})" for folder in folders) + "\n"


def _versions_of_the_image() -> str:
    """pip's constraints: what is there already stays as it is."""
    found: dict[str, str] = {}
    for distribution in distributions():
        name = distribution.metadata["Name"]
        if name and distribution.version:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution.version)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items()))


def _last_words(output: str) -> str:
    lines = [line for line in output.splitlines() if line.strip()]
    return "\n".join(lines[-LAST_WORDS:])
