"""Which answer of the API server becomes which error, and what follows from it for every request."""

import itertools
import json
from typing import Any

import pytest

from trainyard_operator import errors
from trainyard_operator.outcomes import TABLE, Meaning, Request, error_of, meaning

FIELDS = {"causes": [{"reason": "FieldValueInvalid", "message": "no", "field": "spec.x"}]}


def status(code: int, reason: str = "", message: str = "m", details: Any = None) -> errors.ApiError:
    form = {"kind": "Status", "code": code, "reason": reason, "message": message, "details": details}
    return error_of(code, json.dumps(form).encode())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (status(404, "NotFound", details={"name": "run", "kind": "trainingruns"}), errors.GoneError),
        (status(404, "NotFound", details={}), errors.NotFoundError),
        (error_of(404, b"404 page not found"), errors.NotFoundError),
        (error_of(404, b"<html>no route</html>"), errors.NotFoundError),
        (status(409, "AlreadyExists"), errors.ExistsError),
        (status(409, "Conflict"), errors.ConflictError),
        (status(401), errors.ForbiddenError),
        (status(403), errors.ForbiddenError),
        (status(422, "Invalid", details=FIELDS), errors.InvalidError),
        (status(429), errors.UnavailableError),
        (error_of(502, b""), errors.UnavailableError),
        (error_of(503, b"[]"), errors.UnavailableError),
    ],
)
def test_an_answer_becomes_an_error_of_its_kind(error, kind) -> None:
    assert type(error) is kind


@pytest.mark.parametrize(
    "error",
    [
        status(400, "", 'admission webhook "a.example" denied the request: not on Fridays'),
        status(422, "Invalid", 'admission webhook "vraycluster.kb.io" denied the request: is invalid', FIELDS),
        status(
            422,
            "Invalid",
            "rayclusters.ray.io \"c\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            {"name": "c", "causes": [{"message": "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no"}]},
        ),
        status(400, "BadRequest", "the object provided is unrecognized"),
        error_of(400, b"<html>Bad Request</html>"),
    ],
    ids=["webhook", "webhook in the API server's form", "admission policy", "bad request", "a proxy"],
)
def test_what_an_admission_denies_may_be_allowed_later(error) -> None:
    assert isinstance(error, errors.DeniedError)
    assert meaning(Request.CREATE_CLUSTER, error) == Meaning.REFUSED


def test_only_the_api_servers_own_word_about_fields_ends_a_run() -> None:
    hopeless = {(request, kind) for request in Request for kind in TABLE[request] if TABLE[request][kind] == "Hopeless"}
    assert hopeless == {(Request.CREATE_CLUSTER, errors.InvalidError)}


@pytest.mark.parametrize(("request_", "kind"), list(itertools.product(Request, errors.ApiError.__subclasses__())))
def test_every_answer_to_every_request_has_a_meaning(request_, kind) -> None:
    assert meaning(request_, kind(0, "")) in Meaning


def test_no_answer_that_names_no_object_counts_as_gone() -> None:
    stray = errors.NotFoundError(404, "404 page not found")
    assert {meaning(request, stray) for request in Request} == {Meaning.REFUSED, Meaning.LATER}
