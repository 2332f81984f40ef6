"""A team's own training function, unchanged: Tune's function API, generators that `yield` metrics included."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from trainyard import loading
from trainyard.errors import InvalidConfiguration
from trainyard.metrics import as_number

FIELD = "spec.trainable.function"

Function = Callable[[dict[str, Any]], Any]


def load(path: str) -> Function:
    """Import `module:name`.

    Raises:
        InvalidConfiguration: there is no such module or name, or it is not a function of one argument.
    """
    function = loading.load(path, FIELD)
    if not callable(function):
        raise InvalidConfiguration.of(FIELD, f"{path} is a {type(function).__name__}", "name a function")
    try:
        inspect.signature(function).bind({})
    except TypeError as error:
        raise InvalidConfiguration.of(
            FIELD, f"{path} cannot be called with one argument ({error})", "take the configuration as the only argument"
        ) from error
    return function


def with_values(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of the nested mapping `config` with `values` set, each by its dotted path."""
    copy = dict(config)
    for path, value in values.items():
        first, _, rest = path.partition(".")
        if rest:
            inner = copy.get(first)
            copy[first] = with_values(inner if isinstance(inner, Mapping) else {}, {rest: value})
        else:
            copy[first] = value
    return copy


def iterations_of(function: Function, config: dict[str, Any], report: Callable[[dict[str, Any]], None]) -> None:
    """Call `function`; pass on what it yields or returns. What it reports itself goes to Tune directly."""
    output = function(config)
    if inspect.isgenerator(output):
        for metrics in output:
            report(as_metrics(metrics))
    elif output is not None:
        report(as_metrics(output))


def as_metrics(output: Any) -> dict[str, Any]:
    """What a trainable yielded or returned as a dictionary, numbers as plain ones; a number alone is called `value`.

    A process that has no GPU cannot read a tensor of one, so that it is here that numbers are taken out of theirs.
    """
    if isinstance(output, Mapping):
        numbers = {name: as_number(value) for name, value in output.items()}
        return {name: value if numbers[name] is None else numbers[name] for name, value in output.items()}
    if (number := as_number(output)) is not None:
        return {"value": number}
    raise TypeError(f"the trainable gave {type(output).__name__}; yield or return a dictionary of metrics or a number")
