"""The errors that this package raises on purpose, and the exit code that each kind means to the operator.

The user has to correct a `UserError`; it is never retried (exit code 2). Every other error counts for `backoffLimit`.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


@dataclass(frozen=True)
class Fault:
    """One fault of a specification: its field, what is wrong, and what to do about it."""

    field: str
    problem: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.field}: {self.problem}" if self.field else self.problem
        return f"{text}; {self.remedy}" if self.remedy else text


class TrainyardError(Exception):
    """Base class of the errors that this package raises on purpose."""

    exit_code = EXIT_FAILED

    @property
    def reason(self) -> str:
        """UpperCamelCase word for status and events."""
        return type(self).__name__


class UserError(TrainyardError):
    """Something that only the user can correct; retrying cannot help."""

    exit_code = EXIT_USER_ERROR
    field: str = ""


class InvalidConfiguration(UserError):
    """The specification is refused; `faults` holds every fault that was found, not only the first."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        self.field = self.faults[0].field if self.faults else ""
        super().__init__("\n".join(str(fault) for fault in self.faults))

    @classmethod
    def of(cls, field: str, problem: str, remedy: str = "") -> "InvalidConfiguration":
        """The error of a single fault."""
        return cls([Fault(field, problem, remedy)])

    def __reduce__(self) -> tuple[type["InvalidConfiguration"], tuple[tuple[Fault, ...]]]:
        # It may have to leave a Ray actor: unpickling would call __init__ with the text otherwise.
        return type(self), (self.faults,)


class StorageNotWritable(UserError):
    """The run's storage cannot be written."""

    field = "spec.storage"


class RayNotStarted(TrainyardError):
    """A Ray of this machine, for a local run, did not start."""


class InsufficientResources(UserError):
    """The run needs more at the same time than there is; it would wait for ever."""


class NonFiniteNumber(UserError):
    """A reward, an observation, an action, a loss, a gradient or a priority is NaN or infinite.

    The message says where it was met first, and which value it is.
    """


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived.

    It is a KeyboardInterrupt, because a call into Ray lets only this exception through (as a plain one; see
    `launch.Sigterm`). Any other exception of a signal handler is lost there, and the driver continues until it is
    killed.
    """


def root_cause(error: BaseException) -> BaseException:
    """The exception that the user's code raised, without the wrappers of Ray and of RLlib (an empty RuntimeError)."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, BaseException):
        return root_cause(cause)
    if type(error) is RuntimeError and not error.args and error.__cause__ is not None:
        return root_cause(error.__cause__)
    return error


def described(error: BaseException) -> str:
    """One line or more for a table: the type of what the user's code raised, and its message."""
    if (killed := out_of_memory(error)) is not None:
        return f"{OUT_OF_MEMORY}: {killed}"
    cause = root_cause(error)
    return f"{type(cause).__name__}: {cause}"


OUT_OF_MEMORY = "OOMKilled"
"""As Kubernetes calls it when it kills a container for its memory."""


def out_of_memory(error: BaseException | None) -> str | None:
    """What Ray's memory monitor says where it has ended a process of the run, in our words; None for other errors.

    Ray ends processes when a node (a pod's cgroup, where it is one) has used nearly all of its memory.
    """
    while error is not None:
        text = str(error)
        if type(error).__module__ == "ray.exceptions" and "low on memory" in text:
            return _out_of_memory(text)
        cause = getattr(error, "cause", None)
        error = cause if isinstance(cause, BaseException) else error.__cause__
    return None


def _out_of_memory(text: str) -> str:
    """From Ray's text of some fifty lines: whom it ended and what was used of what."""
    used = re.search(r"IP: ([^,)]+).*? was (\S+) used / (\S+) limit", text)
    where = f"{used[2]} of {used[3]} were used on the node {used[1]}" if used else text.partition("\n")[0]
    ended = re.findall(r"Selected to kill: \(.*?task name=([^,]*), .*?memory used=([^,)]*)", text)
    of_the_run = ", ".join(f"{name} with {memory}" for name, memory in ended[:5])
    return (
        f"Ray ended a process of the run because its node ran out of memory: {where}"
        + (f"; it ended {of_the_run}" if ended else "")
        + "; raise spec.cluster.head.memory or spec.cluster.worker.memory (your own machine: use a larger one), "
        "or lower spec.sampling.envRunners, spec.search.maxConcurrentTrials or the replay buffer's capacity"
    )


def nearest(name: str, known: list[str]) -> str:
    """Return `did you mean X?`, or the known names if no name is similar."""
    matches = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not matches:
        folded = {item.lower(): item for item in known}
        matches = [folded[found] for found in difflib.get_close_matches(name.lower(), list(folded), n=1, cutoff=0.6)]
    return f"did you mean {matches[0]}?" if matches else f"use one of {', '.join(sorted(known))}"
