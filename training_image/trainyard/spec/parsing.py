"""From the mapping under `spec` to a Specification, with every fault at once."""

from typing import Any

from pydantic import ValidationError

from trainyard.errors import Fault, InvalidConfiguration, nearest
from trainyard.spec.relations import relation_faults
from trainyard.spec.sections import Section, Specification


def parse(spec: dict[str, Any]) -> Specification:
    """Validate `spec` (numbers already normalised by `trainyard.spec.document`).

    Raises:
        InvalidConfiguration: with every fault, each naming its field from `spec` on.
    """
    faults: list[Fault] = []
    parsed = None
    try:
        parsed = Specification.model_validate(spec)
    except ValidationError as error:
        faults += [_fault(spec, item) for item in error.errors(include_url=False)]
    faults += relation_faults(spec)
    if faults or parsed is None:
        raise InvalidConfiguration(faults)
    return parsed


def _fault(spec: dict[str, Any], error: Any) -> Fault:
    path = [part for part in error["loc"] if not (isinstance(part, str) and part.startswith(("function-", "union")))]
    field = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            return Fault(field, "is not a field", nearest(str(path[-1]), _fields_at(list(path[:-1]))))
        case "missing":
            return Fault(field, "is required", "add it")
        case "int_type":
            return Fault(field, f"is {error['input']!r}", "write a whole number without quotes")
        case "float_type":
            return Fault(field, f"is {error['input']!r}", "write a number without quotes")
        case "bool_type":
            return Fault(field, f"is {error['input']!r}", "write true or false")
        case "string_type":
            return Fault(field, f"is {error['input']!r}", "write a string; quote it if YAML reads it as something else")
        case "dict_type" | "model_type":
            return Fault(field, f"is {error['input']!r}", "write a mapping (field: value)")
        case "list_type":
            return Fault(field, f"is {error['input']!r}", "write a list")
        case "greater_than" | "greater_than_equal" | "less_than" | "less_than_equal":
            bound = {"gt": "more than", "ge": "at least", "lt": "less than", "le": "at most"}
            ((key, limit),) = context.items()
            return Fault(field, f"is {error['input']!r}", f"must be {bound[key]} {limit:g}")
        case "literal_error":
            return Fault(field, f"is {error['input']!r}", f"use {context['expected']}")
        case "too_short" if isinstance(error["input"], list):
            return Fault(field, "is empty", "remove it, or write one or more items")
        case "too_long":
            return Fault(field, f"has {len(error['input'])} items", f"write at most {context['max_length']}")
        case "value_error":
            return Fault(field, f"is {error['input']!r}", str(context["error"]))
        case _:
            return Fault(field, f"is {error['input']!r}", error["msg"])


def _fields_at(path: list[Any]) -> list[str]:
    """Names of the fields that the section at `path` has."""
    model: Any = Specification
    for part in path:
        if isinstance(part, int):
            continue
        field = next((item for item in model.model_fields.values() if item.alias == part), None)
        model = _section_of(field.annotation) if field else None
        if model is None:
            return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _section_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return annotation
    return next((found for item in getattr(annotation, "__args__", ()) if (found := _section_of(item))), None)
