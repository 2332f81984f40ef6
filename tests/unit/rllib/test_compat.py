"""Every private name that is used is in one table, the installed Ray has it, and without it RLlib's own trains."""

from __future__ import annotations

import ast
import importlib
import inspect
import logging
import pkgutil
import re
import textwrap
from contextlib import suppress
from functools import cache
from pathlib import Path

import gymnasium as gym
import pytest
from ray.rllib.algorithms.appo import APPOConfig
from ray.rllib.algorithms.dqn import DQN, DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.torch.torch_learner import TorchLearner
from ray.rllib.core.rl_module.rl_module import RLModule
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

import trainyard
from trainyard.errors import InvalidConfiguration
from trainyard.rllib import compat
from trainyard.rllib.compat import NAMES, Name
from trainyard.rllib.env_runner import EnvRunner
from trainyard.rllib.learners import LEAN_LEARNERS, STOCK_LEARNERS, choose_learner, counterpart, stock_learner
from trainyard.rllib.replay import choose_replay, choose_runner
from trainyard.spec.parsing import parse
from trainyard.training import config as algorithms

ROOT = Path(trainyard.__file__).parent
FOREIGN = ("ray", "torch")
BOX, DISCRETE = gym.spaces.Box(-1, 1, (3,)), gym.spaces.Discrete(2)
# Names that begin with an underscore and are documented, of Python's own library.
DOCUMENTED = {"_fields", "_current_frames"}
ENTRIES = [(group, name) for group, listed in NAMES.items() for name in listed.names]


class TestTheTable:
    @pytest.mark.parametrize(("group", "name"), ENTRIES, ids=[f"{group}-{name}" for group, name in ENTRIES])
    def test_the_installed_ray_has_the_name_as_it_is_used(self, group, name):
        assert compat.why_absent(name) is None

    @pytest.mark.parametrize(("group", "name"), ENTRIES, ids=[f"{group}-{name}" for group, name in ENTRIES])
    def test_a_function_has_a_signature_in_it(self, group, name):
        found = getattr(compat._owner(name.owner), name.name, None) if name.name else None
        assert inspect.isfunction(found) == (name.signature is not None)

    def test_the_place_of_the_network_is_made_of_rllibs_names(self):
        parts = (COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, COMPONENT_RL_MODULE)
        assert "/".join(parts) == compat.MODULES
        assert f"{compat.MODULES}/{DEFAULT_MODULE_ID}/{RLModule.STATE_FILE_NAME}.pkl" == compat.MODULE_FILE

    def test_every_group_is_used_in_the_files_that_it_says(self):
        for group in NAMES.values():
            text = "\n".join((ROOT / file).read_text() for file in group.files)
            # Ray sets these itself; what is read is the folder that is made of them.
            unread = set() if group is not NAMES["Tune's folders"] else {name.name for name in group.names}
            for name in group.names:
                word = name.name or name.owner
                dunder = word.startswith("__")
                assert dunder or word in unread or re.search(rf"(?<!\w){re.escape(word)}\b", text) or name.holds, name


def sources():
    """(path below the package, tree) of every module of the package."""
    return [(str(path.relative_to(ROOT)), ast.parse(path.read_text())) for path in sorted(ROOT.rglob("*.py"))]


def is_private(word: str) -> bool:
    return word.startswith("_") and not word.startswith("__")


def own_names(trees) -> set[str]:
    """What the package itself defines: functions, classes, variables, fields, attributes set on self."""
    found: set[str] = set()
    for _, tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.add(node.name)
                if isinstance(node, ast.FunctionDef):
                    found |= {one.arg for one in (*node.args.args, *node.args.kwonlyargs)}
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
                found.add(node.attr)
    return found


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id == "self"


def foreign_private_names(tree: ast.AST, own: set[str]):
    """Private names in a module that nothing of the package defines."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in own | DOCUMENTED:
            yield node.attr
        elif isinstance(node, ast.keyword) and node.arg and is_private(node.arg) and node.arg not in own:
            yield node.arg
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in FOREIGN:
            if any(is_private(part) for part in node.module.split(".")):
                yield node.module
            yield from (alias.name for alias in node.names if is_private(alias.name))
        elif isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                if parts[0] in FOREIGN and any(is_private(part) for part in parts):
                    yield alias.name
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(r"(ray|torch)(\.\w+)*\._\w+(\.\w+)*", node.value)
        ):
            yield node.value


def listed_for(file: str) -> str:
    """All that the table says of a file, as one text."""
    return "\n".join(
        f"{name.owner} {name.name} {name.signature}"
        for group in NAMES.values()
        if file in group.files
        for name in group.names
    )


def unlisted(file: str, words) -> set[str]:
    text = listed_for(file)
    return {word for word in words if not re.search(rf"(?<!\w){re.escape(word)}\b", text)}


def foreign_bases(cls: type) -> list[type]:
    return [base for base in cls.__mro__ if base.__module__.split(".")[0] in FOREIGN]


@cache
def names_on_self(cls: type) -> set[str]:
    """Private names that a class defines, or that its methods use on self; of one that is written in C, the first."""
    used: set[str] = set()
    with suppress(OSError, TypeError):
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
        used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and is_self(node.value)}
    return {name for name in used | set(vars(cls)) if is_private(name)}


def our_subclasses():
    """(file, class) of each class of the package that has a base of Ray's or torch's."""
    # They run something, or import what is not installed.
    apart = ("trainyard.examples", "trainyard.recording.migrations", "trainyard.environments.cage2")
    for module in pkgutil.walk_packages(trainyard.__path__, "trainyard."):
        if module.name.startswith(apart):
            continue
        imported = importlib.import_module(module.name)
        for cls in vars(imported).values():
            if isinstance(cls, type) and cls.__module__ == module.name and foreign_bases(cls):
                yield str(Path(imported.__file__).relative_to(ROOT)), cls


class TestNoOtherNameIsUsed:
    def test_every_private_name_that_is_not_our_own_is_in_the_table(self):
        trees = sources()
        own = own_names(trees)
        found = {
            file: missing
            for file, tree in trees
            if file != "rllib/compat.py" and (missing := unlisted(file, foreign_private_names(tree, own)))
        }
        assert found == {}

    def test_every_private_name_that_a_class_of_ours_shares_with_a_base_of_rays_is_in_the_table(self):
        """Overridden methods, and attributes that both set."""
        found = {}
        for file, cls in our_subclasses():
            theirs = {name for base in foreign_bases(cls) for name in names_on_self(base)}
            shared = (names_on_self(cls) & theirs) - {"_abc_impl", "_backward_cls", "_is_protocol"}
            if missing := unlisted(file, shared):
                found[f"{file}: {cls.__name__}"] = missing
        assert found == {}

    @pytest.mark.parametrize(
        "source",
        [
            "def f(config): return config._torch_grad_scaler",
            "from ray._private import services",
            "from ray.rllib.core import _private_thing",
            "import torch._dynamo",
            "x = import_module('torch._dynamo')",
            "f(_no_metrics=True)",
            "class A(Learner):\n  def f(self): return self._parameters_of",
        ],
    )
    def test_the_search_sees_what_it_looks_for(self, source):
        assert list(foreign_private_names(ast.parse(source), own=set()))


@pytest.fixture
def without(monkeypatch):
    """Take a name away from Ray, for the table's eyes: RLlib goes on with what it has."""

    def take(name: Name, wrong: str | None = None):
        told = compat.why_absent

        def why_absent(asked: Name) -> str | None:
            return (wrong or f"Ray 3 has no {name}") if asked == name else told(asked)

        monkeypatch.setattr(compat, "why_absent", why_absent)

    return take


def name_of(group: str, name: str) -> Name:
    return next(listed for listed in NAMES[group].names if listed.name == name)


def with_default_learner(config):
    return config.training(learner_class=config.get_default_learner_class())


class TestWhyNot:
    def test_a_method_that_is_gone_is_named(self, monkeypatch):
        monkeypatch.delattr(Learner, "_make_batch_if_necessary")
        assert compat.why_not("update").endswith("has no Learner._make_batch_if_necessary")
        assert compat.why_not("optimizer") is None

    def test_another_signature_is_told(self, monkeypatch):
        monkeypatch.setattr(TorchLearner, "_set_optimizer_state", lambda self, state, strict: None)
        reason = compat.why_not("optimizer")
        assert "TorchLearner._set_optimizer_state" in reason
        assert "takes (self, state, strict), not (self, state)" in reason

    def test_what_ray_adds_to_the_methods_of_an_actors_class_does_not_count(self, monkeypatch):
        """As where a remote Learner was made in this process before: the lean one is chosen then, too."""

        def traced(self, state, _ray_trace_ctx=None):
            pass

        monkeypatch.setattr(TorchLearner, "_set_optimizer_state", traced)
        assert compat.why_not("optimizer") is None

    def test_an_attribute_that_no_method_sets_is_missing(self):
        owner = "ray.rllib.core.learner.learner:Learner"
        assert compat.why_absent(Name(owner, "_weights_seq_no")) is None
        assert compat.why_absent(Name(owner, "_weights_number")).endswith("has no Learner._weights_number")

    def test_a_module_that_is_gone_is_named(self):
        assert "has no Gone.name" in compat.why_absent(Name("ray.rllib.gone:Gone", "name"))

    def test_a_key_that_a_mapping_lacks_is_told(self):
        name = Name("ray.rllib.utils.metrics.metrics_logger", "DEFAULT_STATS_CLS_LOOKUP", holds=("sum", "median"))
        assert compat.why_absent(name).endswith("is without median")

    def test_what_a_module_of_ours_cannot_import_of_ray_is_the_reason(self, monkeypatch):
        from ray.rllib.core.models.torch import encoder

        monkeypatch.delattr(encoder, "TorchMultiStreamEncoder")
        monkeypatch.delitem(__import__("sys").modules, "trainyard.rllib.learners.sac_loss")
        found, reason = compat.lean("trainyard.rllib.learners.sac_loss:ShortSAC")
        assert found is None
        assert "TorchMultiStreamEncoder" in reason

    def test_an_import_error_of_our_own_is_an_error(self):
        with pytest.raises(ModuleNotFoundError, match=r"trainyard\.rllib\.nothing"):
            compat.lean("trainyard.rllib.nothing:Nothing")


class TestWithoutANameRllibsOwnTrains:
    @pytest.mark.parametrize("stock", LEAN_LEARNERS, ids=lambda stock: stock.__name__)
    def test_every_lean_learner_needs_the_optimizers(self, stock, monkeypatch):
        assert counterpart(stock).reason is None
        monkeypatch.setattr(TorchLearner, "_get_clip_function", lambda: None)
        assert counterpart(stock).reason is None
        monkeypatch.setattr(TorchLearner, "_get_clip_function", lambda kind: None)
        choice = counterpart(stock)
        assert choice.learner_class is stock
        assert "_get_clip_function" in choice.reason

    def test_the_learner(self, monkeypatch):
        monkeypatch.delattr(Learner, "_make_batch_if_necessary")
        choice = choose_learner(with_default_learner(PPOConfig()))
        assert choice.learner_class is STOCK_LEARNERS[PPOTorchLearner]
        assert "_make_batch_if_necessary" in choice.reason

    def test_the_learner_of_one_algorithm_alone(self, without):
        without(name_of("SAC's loss", "_temp_losses"))
        assert choose_learner(with_default_learner(SACConfig())).learner_class is STOCK_LEARNERS[SACTorchLearner]
        assert choose_learner(with_default_learner(DQNConfig())).reason is None

    @pytest.mark.parametrize(
        ("config", "group", "name"),
        [(PPOConfig, "finite gradients", "_grad_scalers"), (APPOConfig, "update thread", "_update_method")],
    )
    def test_the_test_of_gradients(self, config, group, name, without):
        assert stock_learner(config()) in STOCK_LEARNERS.values()
        without(name_of(group, name))
        assert stock_learner(config()) is config().get_default_learner_class()

    def test_the_replay_buffer(self, without):
        without(name_of("replay", "_update_sample_metrics"))
        config = with_default_learner(DQNConfig())
        config.training(learner_class=choose_learner(config).learner_class)
        choice = choose_replay(config, BOX, DISCRETE)
        assert choice.algo_class is DQN
        assert "_update_sample_metrics" in choice.reason

    def test_the_rounds(self, monkeypatch):
        monkeypatch.delattr(SingleAgentEnvRunner, "_increase_sampled_metrics")
        choice = choose_runner()
        assert choice.runner_class is None
        assert "_increase_sampled_metrics" in choice.reason

    def test_the_word_about_steps(self, without):
        without(name_of("env runner", "_callbacks"))
        config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
        assert EnvRunner(config=config, worker_index=0).tells_of_steps


def built(name: str, **sections):
    spec = {"algorithm": {"name": name}, "environment": {"name": "CartPole-v1"}, "stop": {"iterations": 1}} | sections
    return algorithms.build_config(parse(spec))


class TestTheLogSaysWhatTrainsAndWhy:
    @pytest.mark.parametrize(
        ("algorithm", "group", "name", "words"),
        [
            ("PPO", "optimizer", "_named_optimizers", "StockPPOTorchLearner trains, not a lean Learner"),
            ("DQN", "replay", "_learner_connector", "RLlib's own replay buffer is used, not a flat one"),
            ("DQN", "rounds", "_cached_to_module", "RLlib's own sample() plays every round"),
            ("PPO", "connectors", "_env_to_module_connector", "RLlib's own connectors are used, not lean ones"),
        ],
        ids=["Learner", "replay buffer", "runner", "connectors"],
    )
    def test_in_one_line(self, algorithm, group, name, words, without, caplog):
        missing = name_of(group, name)
        without(missing)
        with caplog.at_level(logging.WARNING, "trainyard"):
            built(algorithm)
        assert [record.message for record in caplog.records] == [f"{words}: Ray 3 has no {missing}"]

    def test_nothing_with_all_names(self, caplog):
        with caplog.at_level(logging.WARNING, "trainyard"):
            for algorithm in ("PPO", "DQN"):
                built(algorithm)
        assert not caplog.records

    def test_rllibs_own_classes_are_configured(self, without):
        without(name_of("optimizer", "_named_optimizers"))
        config = built("DQN")
        assert config.learner_class is STOCK_LEARNERS[config.get_default_learner_class()]
        assert config.algo_class is DQN
        assert config.env_runner_cls is EnvRunner

    def test_whole_episodes_have_no_counterpart_and_are_refused(self, without):
        without(name_of("whole episodes", "PlacementGroupFactory"))
        with pytest.raises(InvalidConfiguration) as refused:
            built("PPO", sampling={"mode": "Asynchronous"})
        [fault] = refused.value.faults
        assert fault.field == "spec.sampling.mode"
        assert "Ray 3 has no" in fault.problem
