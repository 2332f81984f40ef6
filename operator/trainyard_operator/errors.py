"""The operator's errors. Every error that a client raises is one of these.

The table in `outcomes` says which answer becomes which error, and what follows from it.

ApiError
├── NotFoundError        404: the resource is not served (yet), or a proxy in between has answered, or
│   └── GoneError        404 that names the object: it does not exist
├── ConflictError        409, somebody else wrote first
├── ExistsError          409, create of an object that exists already
├── ForbiddenError       401, 403
├── InvalidError         400, 422 with the fields that are wrong: the same request can never succeed
├── DeniedError          any other 400, 422: by a webhook or an admission policy, which may change
└── UnavailableError     429, 5xx, timeouts, connections: try again; does not count as a failure
CredentialsError         no credentials for the API server are configured
FencedError              a write while the Lease was not renewed recently enough
LeaseLostError           another replica leads; this process must end
"""


class OperatorError(Exception):
    """Base class of all errors below."""


class ApiError(OperatorError):
    """A failed request to the Kubernetes API or to a dashboard. `status` is 0 if there was no answer."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class NotFoundError(ApiError):
    pass


class GoneError(NotFoundError):
    pass


class ConflictError(ApiError):
    pass


class ExistsError(ApiError):
    pass


class ForbiddenError(ApiError):
    pass


class InvalidError(ApiError):
    pass


class DeniedError(ApiError):
    pass


class UnavailableError(ApiError):
    pass


class CredentialsError(OperatorError):
    pass


class FencedError(OperatorError):
    pass


class LeaseLostError(OperatorError):
    pass
