"""The operator's errors, drawn first. Everything that a client raises is one of these.

`outcomes` has the table of which answer becomes which, and of what follows from it.

ApiError
├── NotFoundError        404: the resource is not served (yet), or somebody in between has answered, or
│   └── GoneError        404 that names the object: it is not there
├── ConflictError        409, somebody else wrote first
├── ExistsError          409, a create of what is already there
├── ForbiddenError       401, 403
├── InvalidError         400, 422 with the fields that are wrong: the same request can never succeed
├── DeniedError          any other 400, 422: by a webhook or an admission policy, which may change
└── UnavailableError     429, 5xx, timeouts, connections: try again, at nobody's charge
CredentialsError         no way to the API server is configured
FencedError              a write without a Lease that is fresh enough
LeaseLostError           another replica leads; this process must end
"""


class OperatorError(Exception):
    """Base of everything below."""


class ApiError(OperatorError):
    """An answer of the Kubernetes API or of a dashboard that is no success. `status` is 0 when there was none."""

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
