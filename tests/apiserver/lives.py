"""One run's life on a cluster of its own, played by hand: Ray and KubeRay do what they would, and somebody keeps count.

What must hold whatever happens to the operator's calls is in `Verdict`.
"""

import json
import time
from dataclasses import dataclass, field

from tests.apiserver.faults import Script
from tests.apiserver.operators import SPEC, Object, World

TICK = 0.2
RETURN = 195.5


@dataclass(frozen=True)
class Verdict:
    """How a life ended. `outcome` is "ok" or what went wrong first, `seconds` the life's length."""

    outcome: str
    seconds: float
    detail: str = ""


@dataclass
class Life:
    """A run that trains for a moment and succeeds, on every cluster that the operator makes for it.

    Another kind of run is another `spec`, and other methods for what its job does.
    """

    world: World
    script: Script
    spec: Object = field(default_factory=lambda: dict(SPEC))
    limit: float = 90.0
    _heads: dict[str, str] = field(default_factory=dict)
    _jobs: dict[str, float] = field(default_factory=dict)
    _ended: set[str] = field(default_factory=set)
    _faults: list[str] = field(default_factory=list)

    def live(self) -> Verdict:
        """From apply to the end of its clean-up, at most `limit` seconds."""
        started = time.monotonic()
        self.world.runs.create(self.spec)
        while time.monotonic() - started < self.limit and not self._over():
            self._tick()
            time.sleep(TICK)
        seconds = time.monotonic() - started
        self._tick()
        return Verdict(self._outcome(), seconds, self._detail())

    def _over(self) -> bool:
        cleaned = self.world.condition("CleanedUp").get("status") == "True"
        return self.world.status().get("phase") in ("Succeeded", "Failed") and cleaned and not self.world.clusters()

    def _tick(self) -> None:
        clusters = {c["metadata"]["name"]: c for c in self.world.clusters()}
        for name, cluster in clusters.items():
            if name not in self._heads and "deletionTimestamp" not in cluster["metadata"]:
                self._heads[name] = self.world.kuberay.start_head(cluster)
        for name in [name for name in self._heads if name not in clusters]:
            self.world.kuberay.delete_pod(self.world.namespace, self._heads.pop(name))
            self._ended.add(name)
        for name in clusters:
            self._work(name)
        alive = [name for name in clusters if self._runs(name)]
        if len(alive) > 1:
            self._faults.append(f"two live jobs, on {alive}")

    def _runs(self, cluster: str) -> bool:
        jobs = self.world.ray.of(self.world.namespace, cluster).jobs
        return any(job["status"] == "RUNNING" for job in jobs.values())

    def _work(self, cluster: str) -> None:
        """What the driver on a cluster does: reports, and ends a moment after its report is on record."""
        dashboard = self.world.ray.of(self.world.namespace, cluster)
        if not dashboard.jobs:
            return
        if len(dashboard.jobs) > 1:
            self._faults.append(f"two jobs on {cluster}: {sorted(dashboard.jobs)}")
            return
        now = time.monotonic()
        if cluster not in self._jobs:
            self._jobs[cluster], self.script.stage = now, "running"
            dashboard.log = b"training\n"
            dashboard.report(1)
        recorded = self.world.status().get("progress", {}).get("iteration") == 1
        if self._runs(cluster) and ((recorded and now - self._jobs[cluster] > 1) or now - self._jobs[cluster] > 4):
            dashboard.report(2, final=True, progress={"iteration": 10, "percent": 100}, summary={"return": RETURN})
            self.script.stage = "ending"
            dashboard.end("SUCCEEDED", 0)

    def _outcome(self) -> str:
        status = self.world.status()
        if self._faults:
            return "two jobs"
        if status.get("phase") == "Failed":
            return "failed"
        if status.get("phase") != "Succeeded":
            return "stuck"
        if self.world.clusters():
            return "leak"
        if self._result() != RETURN:
            return "lost result"
        if status.get("progress", {}).get("iteration") != 10:
            return "stale result"
        return "again" if (status["attempt"], status.get("failures", 0)) != (1, 0) else "ok"

    def _result(self) -> float | None:
        name = self.world.status().get("results", {}).get("configMap")
        if name is None:
            return None
        found = self.world.core.read_namespaced_config_map(name, self.world.namespace)
        return json.loads(found.data["summary.json"]).get("return")

    def _detail(self) -> str:
        status = self.world.status()
        told = {key: status.get(key) for key in ("phase", "attempt", "failures", "failure")}
        reasons = [(a["reason"], a.get("message", "")[:200]) for a in status.get("attempts", [])]
        return f"{told} {reasons} {self._faults[:1]}"
