"""What an answer of the API server means for a request. Pure.

`error_of` turns an HTTP answer into an error (the classes are in `errors`). `TABLE` says what follows from a request
and its error. Nothing here ends a pass: the status is written even if an effect has failed.
"""

import json
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from trainyard_operator import errors

ADMISSION_WEBHOOK = "admission webhook "
MAX_MESSAGE = 1000


class Request(StrEnum):
    CREATE_CLUSTER = "create the cluster or its Secret"
    SET_FINALIZER = "set or remove the finalizer"
    DELETE = "delete a cluster or the run"
    KEEP_RESULTS = "write the results' ConfigMap"
    WRITE_STATUS = "write the status"


class Meaning(StrEnum):
    DONE = "Done"
    """The wanted state is there already."""
    ASK = "Ask"
    """The cache may be old: the object is read before anything else is concluded."""
    REFUSED = "Refused"
    """Shown in the status, and tried again: a quota, a policy or a webhook may change."""
    HOPELESS = "Hopeless"
    """Shown in the status, and ends the run: the same request can never succeed."""
    LATER = "Later"
    """Tried again a little later; does not count as a failure."""


_OTHERWISE = errors.ApiError
TABLE: Mapping[Request, Mapping[type[errors.ApiError], Meaning]] = {
    Request.CREATE_CLUSTER: {
        errors.ExistsError: Meaning.ASK,
        errors.InvalidError: Meaning.HOPELESS,
        _OTHERWISE: Meaning.REFUSED,
    },
    Request.SET_FINALIZER: {
        errors.ConflictError: Meaning.LATER,
        errors.NotFoundError: Meaning.LATER,
        errors.UnavailableError: Meaning.LATER,
        _OTHERWISE: Meaning.REFUSED,
    },
    Request.DELETE: {
        errors.GoneError: Meaning.DONE,
        errors.NotFoundError: Meaning.LATER,
        errors.ConflictError: Meaning.ASK,
        errors.UnavailableError: Meaning.LATER,
        _OTHERWISE: Meaning.REFUSED,
    },
    Request.KEEP_RESULTS: {errors.ExistsError: Meaning.ASK, _OTHERWISE: Meaning.REFUSED},
    Request.WRITE_STATUS: {
        errors.ConflictError: Meaning.ASK,
        errors.GoneError: Meaning.ASK,
        _OTHERWISE: Meaning.LATER,
    },
}
"""The entry for the error's own class, otherwise for the nearest base class."""


def meaning(request: Request, error: errors.ApiError) -> Meaning:
    row = TABLE[request]
    return next(row[kind] for kind in type(error).__mro__ if kind in row)


def error_of(status: int, body: bytes) -> errors.ApiError:
    """The error for an answer of the API server."""
    said = _status_object(body)
    message = str(said.get("message") or body.decode(errors="replace"))[:MAX_MESSAGE]
    return _kind(status, said, message)(status, message)


def _kind(status: int, said: Mapping[str, Any], message: str) -> type[errors.ApiError]:
    match status:
        case 404:
            return errors.GoneError if _details(said).get("name") else errors.NotFoundError
        case 409:
            return errors.ExistsError if said.get("reason") == "AlreadyExists" else errors.ConflictError
        case 401 | 403:
            return errors.ForbiddenError
        case 400 | 422:
            return errors.InvalidError if _by_schema(said, message) else errors.DeniedError
        case _:
            return errors.UnavailableError


def _by_schema(said: Mapping[str, Any], message: str) -> bool:
    """Whether the API server itself calls the object invalid.

    Then it names every wrong field. A ValidatingAdmissionPolicy (422 by default) names no field. A webhook (400 if it
    gives no code) is named in the message, even if it copies the form of the API server's answer.
    """
    causes = _details(said).get("causes") or []
    return bool(causes) and all(cause.get("field") for cause in causes) and not message.startswith(ADMISSION_WEBHOOK)


def _details(said: Mapping[str, Any]) -> Mapping[str, Any]:
    details = said.get("details")
    return details if isinstance(details, dict) else {}


def _status_object(body: bytes) -> Mapping[str, Any]:
    """The Status in an answer; {} if it is something else, for instance the answer of a proxy in between."""
    try:
        said = json.loads(body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
