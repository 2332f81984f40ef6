"""Imports by name: `package.module:attribute` in a specification, and modules under their old names."""

from __future__ import annotations

import difflib
import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from trainyard.errors import InvalidConfiguration

# The modules' paths below `trainyard` in version 0.1, and their paths now. Checkpoints of that version name their
# classes by the old paths, and programs may do so too. A test checks that an old path gives the module itself, not a
# second copy.
MOVED = {
    "algorithms": "training.config",
    "analyst": "observers.verdicts",
    "asynchronous": "rllib.asynchronous",
    "asynchronous.algorithm": "rllib.asynchronous.algorithm",
    "asynchronous.collector": "rllib.asynchronous.collector",
    "asynchronous.correction": "rllib.asynchronous.correction",
    "asynchronous.episodes": "rllib.asynchronous.episodes",
    "asynchronous.export": "rllib.asynchronous.export",
    "asynchronous.policy": "rllib.asynchronous.policy",
    "asynchronous.runner": "rllib.asynchronous.episode_runner",
    "checkpoints": "runs.checkpoints",
    "connectors": "rllib.connectors",
    "curves": "observers.curves",
    "data": "environments.market",
    "data.prices": "environments.market.prices",
    "driver": "training.loop",
    "entrypoint": "launch.program",
    "env_runner": "rllib.env_runner",
    "environment_names": "training.environment",
    "environments.benchmarks": "environments.market.benchmarks",
    "environments.features": "environments.market.features",
    "environments.portfolio": "environments.market.portfolio",
    "environments.rewards": "environments.market.rewards",
    "environments.simulation": "environments.market.simulation",
    "environments.trading": "environments.market.trading",
    "evaluation": "training.evaluation",
    "exporting": "training.exporting",
    "figures": "environments.market.performance",
    "learners": "rllib.learners",
    "learners.flat": "rllib.learners.flat",
    "learners.fused": "rllib.learners.fused",
    "learners.lean": "rllib.learners.choice",
    "learners.minibatches": "rllib.learners.minibatches",
    "learners.ppo_loss": "rllib.learners.ppo_loss",
    "learners.replay": "rllib.learners.column_update",
    "learners.sac_loss": "rllib.learners.sac_loss",
    "learners.targets": "rllib.learners.targets",
    "manifest": "spec.document",
    "networks": "training.networks",
    "parameter_values": "training.parameter_values",
    "parameters": "training.parameters",
    "points": "spec.search_points",
    "presets": "spec.presets",
    "progress_reporter": "observers.progress",
    "quantities": "spec.units",
    "reached": "training.last_iteration",
    "recording.callback": "recording.driver_side",
    "recording.infos": "episodes.infos",
    "recording.lineage": "recording.attempts",
    "recording.records": "episodes.records",
    "recording.runner": "recording.runner_side",
    "recording.search": "search.recording",
    "recording.whole_episodes": "recording.from_asynchronous",
    "replay": "rllib.replay",
    "replay.buffer": "rllib.replay.buffer",
    "replay.choice": "rllib.replay.choice",
    "replay.priorities": "rllib.replay.priorities",
    "replay.rounds": "rllib.replay.round_runner",
    "replay.saving": "rllib.replay.saving",
    "replay.training": "rllib.replay.training",
    "replay.transitions": "rllib.replay.transitions",
    "reporting": "progress.report",
    "reports.curves": "reports.learning_curves",
    "reports.episodes": "reports.account_episodes",
    "reports.provenance": "training.provenance",
    "reports.records": "reports.run_facts",
    "reports.search": "reports.search_section",
    "reports.words": "reports.wording",
    "requirements": "runs.packages",
    "resuming": "runs.resuming",
    "run": "runs.run",
    "sizing": "spec.sizing",
    "specification": "spec.sections",
    "stopping": "runs.stopping",
    "storage": "runs.storage",
    "summary": "reports.summary",
    "tensorboard_events": "search.tensorboard_events",
    "terminal": "observers.terminal",
    "trainables": "search.trainables",
    "trial_logs": "search.trial_files",
    "trial_player": "search.worker",
    "trial_tasks": "search.on_tasks",
    "trials": "search.trials",
    "tune_bridge": "search.on_tune",
    "workloads": "launch.workloads",
}


class MovedModules(MetaPathFinder):
    """Finds a module under the name that it had before."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        package, _, old = name.partition(".")
        if package != "trainyard" or old not in MOVED:
            return None
        return ModuleSpec(name, _Moved(f"trainyard.{MOVED[old]}"))

    def install(self) -> None:
        """Must be the first finder: the finder for files would load a package's modules again under their old names."""
        sys.meta_path.insert(0, self)


class _Moved(Loader):
    """Loads nothing: the old name gives the module of the new name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        module = importlib.import_module(self._name)
        self._spec = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has just written the old name into it


def load(path: str, field: str) -> Any:
    """Import it.

    Raises:
        InvalidConfiguration: the module or attribute does not exist; `field` is the field to correct.
    """
    module_name, _, attribute = path.partition(":")
    if not (module_name and attribute):
        raise InvalidConfiguration.of(field, f"is {path!r}", "write package.module:name")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise InvalidConfiguration.of(
            field,
            f"{module_name!r} cannot be imported: {error}",
            "add it to spec.runtimeEnv.pip, to the image, or to a volume that spec.cluster's pod templates mount and "
            "have on PYTHONPATH; trainyard run also finds modules in the current folder",
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        candidates = [candidate for candidate in dir(module) if callable(getattr(module, candidate))]
        near = difflib.get_close_matches(attribute, candidates, n=1)
        remedy = f"did you mean {near[0]!r}" if near else f"use a name that {module.__file__} defines"
        raise InvalidConfiguration.of(field, f"{module_name!r} has no {attribute!r}", remedy)
    return found
