"""The corpus of specs, accepted and refused, for the tests of the API server and of the training library."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "corpus"


@dataclass(frozen=True)
class Case:
    """`message`: fragments of the API server's answer, empty when it accepts."""

    name: str
    spec: dict[str, Any]
    message: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=lambda: {"name": "run"})

    @property
    def object(self) -> dict[str, Any]:
        return {
            "apiVersion": "trainyard.dev/v1alpha1",
            "kind": "TrainingRun",
            "metadata": self.metadata,
            "spec": self.spec,
        }

    def __str__(self) -> str:
        return self.name.replace(" ", "-")


def read(name: str) -> list[Case]:
    return [
        Case(
            name=item["name"],
            spec=item["spec"],
            message=tuple(item.get("message", ())),
            metadata=item.get("metadata", {"name": "run"}),
        )
        for item in yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    ]


ACCEPTED = read("accepted")
REFUSED = read("refused")
