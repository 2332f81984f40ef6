"""Leader election: only the replica that holds a Lease acts. The others keep warm caches and wait.

A replica takes a Lease over when it has not seen it change for the Lease's duration, so the clocks of two machines are
never compared. The holder may write only while its last renewal is younger than half of the duration (`check`), so a
process that was frozen or cut off stops writing before another one starts.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from trainyard_operator import errors
from trainyard_operator.clients.kube import KubeClient
from trainyard_operator.settings import LeaseSettings

logger = logging.getLogger(__name__)
Form = Mapping[str, Any]


def boot_time() -> float:
    """Seconds of a clock that also runs while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Lease:
    def __init__(
        self,
        kube: KubeClient,
        settings: LeaseSettings,
        namespace: str,
        identity: str,
        *,
        clock: Callable[[], float] = boot_time,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._kube = kube
        self._settings = settings
        self._namespace = namespace
        self.identity = identity
        self._clock = clock
        self._wall = wall
        self._renewed: float | None = None
        self._record: Form | None = None
        self._seen: tuple[str, float] | None = None

    @property
    def held(self) -> bool:
        """Whether this process may write now."""
        return self._renewed is not None and self._clock() - self._renewed < self._settings.duration / 2

    def check(self) -> None:
        """The fence. Raises FencedError when this process may not write."""
        if not self.held:
            raise errors.FencedError("the Lease was not renewed in time; nothing is written")

    async def acquire(self) -> None:
        """Return as soon as the Lease is held. If the API server does not answer, wait until it does."""
        while True:
            if await self._try_to_take():
                return
            await asyncio.sleep(self._settings.renew / 2)

    async def keep(self) -> None:
        """Renew until it fails for good. Raises LeaseLostError."""
        while True:
            await asyncio.sleep(self._settings.renew)
            await self.renew()

    async def renew(self) -> None:
        """One renewal. Raises LeaseLostError if another replica has the Lease, or if it was not renewed in time."""
        started = self._clock()
        try:
            self._record = await self._write(self._record)
            self._renewed = started
            return
        except (errors.ConflictError, errors.ExistsError, errors.NotFoundError) as error:
            problem = await self._look() or error.message
        except errors.ApiError as error:
            problem = error.message
        age = self._clock() - (self._renewed if self._renewed is not None else started)
        if age >= self._settings.duration * 2 / 3:
            raise errors.LeaseLostError(f"not renewed for {age:.0f} s: {problem}")

    async def release(self) -> None:
        """Release the Lease, so that another replica can take it at once. A failure is harmless: the Lease expires."""
        if self._record is None or self._renewed is None:
            return
        record, self._record, self._renewed = self._record, None, None
        spec = {**record["spec"], "holderIdentity": "", "leaseDurationSeconds": 1}
        try:
            await self._replace({**record, "spec": spec})
        except errors.ApiError:
            return

    async def _look(self) -> str | None:
        """After a conflict: if the Lease is still ours, somebody only touched it; if it is gone, it is created again.

        Returns the problem that prevented the look, None if there was none. Raises LeaseLostError if another replica
        has the Lease.
        """
        try:
            self._record = await self._read()
        except errors.ApiError as error:
            return error.message
        holder = self._record["spec"].get("holderIdentity") if self._record else self.identity
        if holder != self.identity:
            self._renewed = None
            raise errors.LeaseLostError(f"{holder!r} holds the Lease")
        return None

    async def _try_to_take(self) -> bool:
        started = self._clock()
        try:
            record = await self._read()
            if record is not None and not self._is_free(record):
                return False
            self._record = await self._write(record)
        except (errors.ConflictError, errors.ExistsError):
            return False  # another replica was faster
        except errors.ApiError as error:
            logger.warning("the Lease cannot be taken now: %s", error)
            return False
        self._renewed = started
        return True

    async def _read(self) -> Form | None:
        """The Lease, None if it does not exist."""
        try:
            return await self._kube.read_lease(self._namespace, self._settings.name, self._settings.request)
        except errors.NotFoundError:
            return None

    def _is_free(self, record: Form) -> bool:
        """Whether the Lease is released, or has not changed for its duration since this process saw it first, or was
        taken by a request of this process whose answer was lost."""
        spec = record.get("spec", {})
        if spec.get("holderIdentity") in (None, "", self.identity):
            return True
        version = record["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        return self._clock() - self._seen[1] >= float(spec.get("leaseDurationSeconds", self._settings.duration))

    async def _write(self, record: Form | None) -> Form:
        now = self._wall().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = record["spec"] if record else {}
        same = old.get("holderIdentity") == self.identity
        spec = {
            "holderIdentity": self.identity,
            "leaseDurationSeconds": max(1, round(self._settings.duration)),
            "renewTime": now,
            "acquireTime": old.get("acquireTime", now) if same else now,
            "leaseTransitions": old.get("leaseTransitions", 0) + (0 if same else 1),
        }
        if record is None:
            body: Form = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._settings.name, "namespace": self._namespace},
                "spec": spec,
            }
            return await self._kube.create_lease(self._namespace, body, self._settings.request)
        return await self._replace({**record, "spec": spec})

    async def _replace(self, body: Form) -> Form:
        return await self._kube.replace_lease(self._namespace, self._settings.name, body, self._settings.request)
