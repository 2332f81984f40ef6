"""How long bringing up the node takes, from what the cache lacks. The figures are those of dev/README.md."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dev.cluster import binaries
from dev.cluster.images import CODE, TRAINING, Buildah
from dev.cluster.steps import duration

START_SECONDS = 45.0
"""From programs and images that are there to a Ready node."""


@dataclass(frozen=True)
class Part:
    """Something that is made once; `seconds` of one processor."""

    name: str
    seconds: float


PROGRAMS = Part("programs", 550.0)
BASE = Part("base image", 45.0)
LAYERS: Mapping[str, Part] = {target: Part(f"{target} layer", 180.0 if target == TRAINING else 30.0) for target in CODE}


def missing(programs: Sequence[str]) -> list[Part]:
    """What is not in the cache; programs count by their number."""
    absent = len(binaries.missing(programs))
    builder = Buildah()
    images = {
        builder.base_reference(): BASE,
        **{builder.dependencies_reference(target): part for target, part in LAYERS.items()},
    }
    parts = [Part(f"{absent} {PROGRAMS.name}", PROGRAMS.seconds * absent / len(programs))] if absent else []
    return parts + [part for reference, part in images.items() if not builder.has(reference)]


def sentence(parts: Sequence[Part], cores: int) -> str:
    """One line for people; the parts overlap, so only their sum divided by the processors counts."""
    seconds = START_SECONDS + sum(part.seconds for part in parts) / cores
    if not parts:
        return f"everything is cached: the cluster is up in about {duration(seconds)}"
    minutes = max(1, round(seconds / 60))
    shares = ", ".join(f"{part.name} {duration(part.seconds / cores)}" for part in parts)
    return (
        f"the cluster is up in about {minutes} min on {cores} {'core' if cores == 1 else 'cores'} with nothing else to "
        f"do, downloads not counted; not cached yet: {shares}. The next time it takes less than a minute"
    )
