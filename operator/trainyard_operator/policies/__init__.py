"""The policies: what happens to a run, one policy per file. Pure: a policy reads the observation and changes the plan.

Read `decide.CHAIN` from top to bottom. Nothing here does I/O, reads a clock or imports a client.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from trainyard_operator.model import Observed, Plan
from trainyard_operator.settings import Settings


@dataclass(frozen=True)
class Context:
    """What every policy may use in addition to the observation: the time of this decision, the settings."""

    now: datetime
    settings: Settings


Policy = Callable[[Observed, Plan, Context], Plan]
