"""A run whose document was read: what every kind of work is given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from trainyard.progress.channel import Progress
from trainyard.runs.packages import Requirements
from trainyard.runs.run import Identity, Run
from trainyard.runs.storage import RunStorage
from trainyard.spec.sections import Specification


@dataclass(frozen=True)
class Job:
    """A run whose document was read; what remains is to connect to Ray and to work.

    requirements: the run's own packages; None without spec.runtimeEnv.pip.
    """

    identity: Identity
    specification: Specification
    document: dict[str, Any]
    storage: RunStorage
    progress: Progress
    console: Console
    requirements: Requirements | None = None

    def run(self) -> Run:
        return Run(self.identity, self.specification, self.document, self.storage)
