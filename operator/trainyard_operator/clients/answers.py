"""HTTP answers: a status, and a body of limited size, of which no more is read than is needed."""

from dataclasses import dataclass

import aiohttp

CHUNK = 2**16


@dataclass(frozen=True)
class Response:
    """`cut`: the body was longer than the limit, and the rest was not read."""

    status: int
    body: bytes
    cut: bool = False


@dataclass(frozen=True)
class Limit:
    """Bytes. At most `most` are read, and the last `keep` of these are kept (None: all)."""

    most: int
    keep: int | None = None


async def read(answer: aiohttp.ClientResponse, limit: Limit) -> Response:
    """The answer's body within the limit. Raises aiohttp.ClientError, also for a compressed body."""
    if (encoding := answer.headers.get("Content-Encoding", "identity")) != "identity":
        raise aiohttp.ClientPayloadError(f"the answer is compressed ({encoding[:20]}), which was not requested")
    body, size = bytearray(), 0
    async for chunk in answer.content.iter_chunked(CHUNK):
        size += len(chunk)
        body += chunk[: len(chunk) - max(0, size - limit.most)]
        if limit.keep is not None:
            del body[: -limit.keep]
        if size > limit.most:
            return Response(answer.status, bytes(body), cut=True)
    return Response(answer.status, bytes(body))
