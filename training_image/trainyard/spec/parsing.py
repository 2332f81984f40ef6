"""From the mapping under `spec` to a Specification, with every fault at once."""

from typing import Any

from pydantic import ValidationError

from trainyard.errors import Fault, InvalidConfiguration
from trainyard.spec.relations import relation_faults
from trainyard.spec.schema import metadata_faults, spec_faults
from trainyard.spec.sections import Specification


def parse(spec: dict[str, Any]) -> Specification:
    """Validate `spec` (as `trainyard.spec.document` reads it).

    Raises:
        InvalidConfiguration: with every fault, each naming its field from `spec` on.
    """
    return _parsed(spec, [])


def parse_document(document: dict[str, Any]) -> Specification:
    """Validate a whole document, its metadata included; see `parse`."""
    return _parsed(document["spec"], metadata_faults(document))


def parse_submitted(document: dict[str, Any]) -> Specification:
    """Parse a document that an API server has judged: a driver need not wait for the schema to be read.

    Where types or relations are wrong all the same (an image of another version), everything is told as by
    `parse_document`.
    """
    try:
        parsed = typed(document["spec"])
    except ValidationError:
        return parse_document(document)
    return parse_document(document) if relation_faults(document["spec"]) else parsed


def typed(spec: dict[str, Any]) -> Specification:
    """The Specification of a `spec` that differs from a valid one only in values of free-form maps."""
    return Specification.model_validate(spec)


def _parsed(spec: dict[str, Any], faults: list[Fault]) -> Specification:
    between = relation_faults(spec)
    told = {fault.field for fault in between}
    # Where both have something to say, what a relation says is nearer to what was meant.
    faults = faults + [fault for fault in spec_faults(spec) if fault.field not in told] + between
    try:
        parsed = typed(spec)
    except ValidationError as error:
        faults += _faults_of_values(error, {fault.field for fault in faults})
    if faults:
        raise InvalidConfiguration(faults)
    return parsed


def _faults_of_values(error: ValidationError, told: set[str]) -> list[Fault]:
    """What only the sections see, such as what PEP 508 makes of a requirement; types are the schema's."""
    faults = []
    for item in error.errors(include_url=False):
        field = "spec" + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in item["loc"])
        if field not in told:
            remedy = str(item.get("ctx", {}).get("error", item["msg"]))
            faults.append(Fault(field, f"is {item['input']!r}", remedy))
    return faults
