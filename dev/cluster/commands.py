"""Running other programs, with errors that show what they said."""

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.cluster.errors import CommandFailed, MissingPrerequisite

TAIL_CHARACTERS = 4000


def run(
    command: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
    log: Path | None = None,
) -> str:
    """Run to the end and return standard output; `log` receives both streams instead of the caller.

    `env` is added to this process's environment. Raises CommandFailed with the end of the output.
    """
    words = [str(word) for word in command]
    environment = {**os.environ, **(env or {})}
    try:
        if log is not None:
            return _run_logged(words, cwd, environment, log)
        done = subprocess.run(words, cwd=cwd, env=environment, input=stdin, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise MissingPrerequisite(f"`{words[0]}` is not installed or not on PATH") from error
    if done.returncode != 0:
        raise CommandFailed(shlex.join(words), done.returncode, (done.stdout + done.stderr)[-TAIL_CHARACTERS:])
    return done.stdout


def _run_logged(words: list[str], cwd: Path | None, environment: dict[str, str], log: Path) -> str:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as out:
        done = subprocess.run(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, check=False
        )
    output = log.read_text(errors="replace")
    if done.returncode != 0:
        raise CommandFailed(shlex.join(words), done.returncode, f"{output[-TAIL_CHARACTERS:]}\n(the whole log: {log})")
    return output


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether the command exists and ends with 0."""
    try:
        run(command)
    except (CommandFailed, MissingPrerequisite):
        return False
    return True
