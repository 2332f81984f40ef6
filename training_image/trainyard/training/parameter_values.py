"""The values that `algorithm.config` and `algorithm.model` may hold.

RLlib looks at few of them, and a wrong one shows only when a process makes its network or the first update: as a
failure, which is retried, or never. The kinds are those of RLlib's own annotations.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import TypeAdapter, ValidationError
from ray.rllib.utils.typing import LearningRateOrSchedule

from trainyard.errors import Fault

# Where an annotation of RLlib is narrower than what it takes.
_WIDER: dict[str, Any] = {
    "grad_clip": float | None,
    "entropy_coeff": LearningRateOrSchedule | None,
}
_WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "a string", dict: "a mapping"}
_SCHEDULE = "a schedule such as [[0, 0.001], [100000, 0.0001]]"
_FORMS = {"conv_filters": "a list of [filters, kernel size, stride] such as [[16, 4, 2], [32, 4, 2]]"}

Possible = Callable[[float], bool]
_SHARE: tuple[Possible, str] = (lambda number: 0 <= number <= 1, "write a number from 0 to 1")
_COUNT: tuple[Possible, str] = (lambda number: number >= 1, "write 1 or more")
_AMOUNT: tuple[Possible, str] = (lambda number: number >= 0, "write 0 or more")
_BOUNDS: dict[str, tuple[Possible, str]] = {
    **dict.fromkeys(("gamma", "lambda_", "tau"), _SHARE),
    **dict.fromkeys(
        ("num_epochs", "minibatch_size", "train_batch_size_per_learner", "n_step", "num_atoms", "lstm_cell_size",
         "max_seq_len", "fcnet_hiddens", "head_fcnet_hiddens", "fusionnet_hiddens"),
        _COUNT,
    ),
    **dict.fromkeys(
        ("lr", "actor_lr", "critic_lr", "alpha_lr", "clip_param", "vf_clip_param", "vf_loss_coeff", "kl_coeff",
         "kl_target", "grad_clip", "num_steps_sampled_before_learning_starts", "target_network_update_freq"),
        _AMOUNT,
    ),
}  # fmt: skip


def value_faults(section: str, given: Mapping[str, Any], annotations: Mapping[str, Any]) -> Iterator[Fault]:
    """Faults in the values whose names have an annotation; `section` is the field that they are below."""
    for name, value in given.items():
        if name not in annotations:
            continue
        remedy = _remedy(name, value, _WIDER.get(name, annotations[name]))
        if remedy is not None:
            yield Fault(f"{section}.{name}", f"is {value!r}", remedy)


def _remedy(name: str, value: Any, annotation: Any) -> str | None:
    """What to write instead; None where the value is possible."""
    try:
        # As JSON, whose lists are tuples as well; a number in quotes stays a string.
        TypeAdapter(annotation).validate_json(json.dumps(value), strict=True)
    except ValidationError:
        kinds = [_FORMS[name]] if name in _FORMS else _kinds(annotation)
        return f"write {', or '.join(dict.fromkeys(kinds))}"
    possible, remedy = _BOUNDS.get(name, (None, ""))
    return remedy if possible is not None and not all(map(possible, _numbers(value))) else None


def _kinds(annotation: Any) -> Iterator[str]:
    """The kinds of an annotation, in words."""
    if get_origin(annotation) in (Union, UnionType):
        for member in get_args(annotation):
            yield from _kinds(member)
    elif annotation in _WORDS:
        yield _WORDS[annotation]
    elif get_origin(annotation) is dict:
        yield _WORDS[dict]
    elif get_origin(annotation) is list and get_origin(get_args(annotation)[0]) in (list, tuple):
        yield _SCHEDULE
    elif get_origin(annotation) in (list, tuple):
        yield "a list of whole numbers"


def _numbers(value: Any) -> Iterator[float]:
    """The numbers of a value, those of a schedule without their times."""
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item[1] if isinstance(item, list) and len(item) == 2 else item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value
