"""The fault sweep: every call of one run's life x every fault, and the operator killed at every call.

    KUBEBUILDER_ASSETS=$(python -m dev.cluster assets) python -m tests.apiserver.fault_sweep [--table FILE]

prints what went wrong and tables of calls and faults, and ends with 1 when anything went wrong. A cell is "ok" when the
run ended in the right phase, in its first attempt, with its results, without a second job and without a cluster left.
"""

import argparse
import itertools
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException
from rich.console import Console
from rich.progress import track

from dev.cluster.apiserver import ApiServer
from tests.apiserver.fake_ray import FakeRay
from tests.apiserver.faults import FAULTS, KILLS, Call, Fault, FaultProxy, Script
from tests.apiserver.lives import Life, Verdict
from tests.apiserver.operators import (
    ROOT,
    Fleet,
    World,
    install_kuberay,
    leads,
    make_system_namespace,
    until,
    user_with_rights,
)
from tests.apiserver.runs import Runs

TOGETHER = 10
"""Lives at the same time with one operator; timing is not what is measured."""
LANES = 3
"""Operators at the same time, each with one life."""
LEASE = "9"
"""Seconds: a third of it is what one renewal may take on a machine that has much to do."""
OF_A_PROCESS = tuple(f for f in FAULTS if f.name in ("404", "429", "time-out", "503, held"))
"""Faults at calls that concern no run in particular: none of them has an effect but those on the Lease."""
REPEATS = {"get job": 1, "read progress": 1, "read log": 1, "update leases": 1, "get leases": 1}
"""How many of a kind of call in a stage are tried: these are polls. Of others all that a clean life has."""
_numbers = itertools.count(1)


@dataclass
class Yard:
    """An API server with everything a life needs. To be closed."""

    server: ApiServer
    kubeconfig: Path
    folder: Path
    ray: FakeRay = field(default_factory=FakeRay)

    def __post_init__(self) -> None:
        self.api = config.new_client_from_config(str(self.server.kubeconfig))

    def world(self) -> World:
        """A fresh namespace."""
        name = f"life-{next(_numbers)}"
        core = client.CoreV1Api(self.api)
        core.create_namespace({"metadata": {"name": name}})
        make_service_account(core, name)
        return World(self.api, name, Runs(self.api, name), self.ray)

    def lane(self) -> "Lane":
        """An operator of its own, for one life."""
        return Lane(self, FaultProxy(self.kubeconfig, self.ray.url), self.world())


def make_service_account(core: client.CoreV1Api, namespace: str) -> None:
    """What pods need, where no controller manager makes it."""
    try:
        core.create_namespaced_service_account(namespace, {"metadata": {"name": "default"}})
    except ApiException as error:
        if error.status != HTTPStatus.CONFLICT:
            raise


@dataclass
class Lane:
    """One life with an operator, a proxy and a Lease of its own. The operator is started again whenever it ends."""

    yard: Yard
    proxy: FaultProxy
    world: World

    def live(self, at: Call | None, fault: Fault | None) -> tuple[Verdict, Script]:
        system = f"system-{self.world.namespace}"
        make_system_namespace(self.yard.api, system)
        folder = self.yard.folder / self.world.namespace
        folder.mkdir()
        fleet = Fleet(self.proxy.kubeconfig(folder / "kubeconfig"), self.proxy, folder)
        flags = ("--namespace", system, "--watch-namespaces", self.world.namespace, "--lease-seconds", LEASE)
        flags += ("--kuberay-probe-seconds", "2")
        script = Script(at, fault)
        self.proxy.script = script
        life = KilledLife(self.world, script, fleet, flags)
        script.kill = life.kill
        try:
            fleet.start(*flags)
            verdict = life.live()
        finally:
            fleet.stop()
            self.proxy.close()
        return verdict, script


class KilledLife(Life):
    """A life whose operator is looked after as a Deployment would: what has ended is started again.

    An operator that ended without being killed is a fault.
    """

    def __init__(self, world: World, script: Script, fleet: Fleet, flags: Sequence[str]) -> None:
        super().__init__(world, script, limit=180)
        self._fleet = fleet
        self._flags = flags
        self._killed = 0

    def kill(self) -> None:
        self._killed += 1
        self._fleet.replicas[-1].process.kill()

    def _tick(self) -> None:
        replica = self._fleet.replicas[-1]
        if replica.process.poll() is not None:
            if len(self._fleet.replicas) > self._killed:
                self._faults.append(f"the operator ended: {replica.log.read_text()[-500:]}")
            self._fleet.start(*self._flags)
        super()._tick()

    def _outcome(self) -> str:
        ended = any("operator ended" in fault for fault in self._faults)
        return "operator ended" if ended else super()._outcome()


@dataclass(frozen=True)
class Case:
    call: Call
    fault: Fault


@dataclass(frozen=True)
class Result:
    case: Case
    verdict: Verdict
    fired: bool

    @property
    def cell(self) -> str:
        return self.verdict.outcome if self.fired or self.verdict.outcome != "ok" else "-"


def of_a_process(call: Call) -> bool:
    """Whether a call is one of a process that comes to lead, and not one about a run."""
    return call.stage == "starting" and any(word in call.what for word in ("get /", "list ", "watch ", "leases"))


def chosen(seen: Iterable[Call]) -> list[Call]:
    """The calls of a recorded life that are tried, in their order."""
    return [call for call in dict.fromkeys(seen) if call.nth <= REPEATS.get(call.what.split(": ")[-1], 9)]


class Sweep:
    def __init__(self, yard: Yard) -> None:
        self._yard = yard

    def shared(self, cases: Callable[[list[Call]], list[Case]]) -> list[Result]:
        """Cases that concern one run only: many lives with one operator."""
        yard = self._yard
        proxy = FaultProxy(yard.kubeconfig, yard.ray.url)
        fleet = Fleet(proxy.kubeconfig(yard.folder / "shared.kubeconfig"), proxy, yard.folder)
        try:
            replica = fleet.start("--lease-seconds", "30")
            until(lambda: leads(replica), "the operator leads", 60)

            def live(case: Case | None) -> tuple[Verdict, Script]:
                world = yard.world()
                script = Script(case.call, case.fault) if case else Script()
                proxy.scripts[world.namespace] = script
                return Life(world, script).live(), script

            verdict, recorded = live(None)
            assert verdict.outcome == "ok", verdict
            return together(cases(chosen(recorded.seen)), live, TOGETHER)
        finally:
            fleet.stop()
            proxy.close()

    def lanes(self, cases: Callable[[list[Call]], list[Case]]) -> list[Result]:
        """Cases that concern the operator's process: each life has one of its own."""
        verdict, recorded = self._yard.lane().live(None, None)
        assert verdict.outcome == "ok", verdict

        def live(case: Case) -> tuple[Verdict, Script]:
            return self._yard.lane().live(case.call, case.fault)

        return together(cases(chosen(recorded.seen)), live, LANES)


def together(cases: list[Case], live: Callable[[Case], tuple[Verdict, Script]], at_once: int) -> list[Result]:
    def one(case: Case) -> Result:
        verdict, script = live(case)
        return Result(case, verdict, script.fired is not None)

    with ThreadPoolExecutor(at_once) as pool:
        results = pool.map(one, cases)
        return list(track(results, "living", len(cases), console=Console(stderr=True), disable=len(cases) < 20))


def open_yard(stack: ExitStack) -> Yard:
    server = stack.enter_context(ApiServer())
    server.apply(ROOT / "manifests" / "crd")
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    api = config.new_client_from_config(str(server.kubeconfig))
    rights = user_with_rights(server, api)
    install_kuberay(server)
    yard = Yard(server, rights, folder)
    stack.callback(yard.ray.close)
    return yard


def table(results: Sequence[Result], faults: Sequence[Fault]) -> str:
    """Markdown: a line for every call, a column for every fault; "-" where a life did not come to that call."""
    cells = {(str(r.case.call), r.case.fault.name): r.cell for r in results}
    calls = list(dict.fromkeys(str(r.case.call) for r in results))
    names = [fault.name for fault in faults]
    lines = ["| call | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {call} | " + " | ".join(cells.get((call, n), "") for n in names) + " |" for call in calls]
    return "\n".join(lines)


def revision() -> str:
    return subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser("python -m tests.apiserver.fault_sweep", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", default="", help="calls whose name has these words")
    parser.add_argument("--parts", default="calls,take-over,kills", help="which parts (calls,take-over,kills)")
    parser.add_argument("--table", type=Path, help="file for the tables, as Markdown")
    given = parser.parse_args()
    parts = given.parts.split(",")

    def crossed(faults: Sequence[Fault], wanted: Callable[[Call], bool]) -> Callable[[list[Call]], list[Case]]:
        def cases(calls: list[Call]) -> list[Case]:
            kept = [call for call in calls if wanted(call) and given.only in str(call)]
            return [Case(call, fault) for call in kept for fault in faults]

        return cases

    def any_call(_: Call) -> bool:
        return True

    started, written, bad = time.monotonic(), [], []
    with ExitStack() as stack:
        sweep = Sweep(open_yard(stack))
        for part, title, faults, run in (
            ("calls", "Calls of a run", FAULTS, lambda: sweep.shared(crossed(FAULTS, any_call))),
            (
                "take-over",
                "Calls of a take-over",
                OF_A_PROCESS,
                lambda: sweep.lanes(crossed(OF_A_PROCESS, of_a_process)),
            ),
            ("kills", "Killed", KILLS, lambda: sweep.lanes(crossed(KILLS, any_call))),
        ):
            if part not in parts:
                continue
            results = run()
            wrong = [r for r in results if r.cell not in ("ok", "-")]
            bad += wrong
            good = [r for r in results if r.cell == "ok"]
            longest = max((r.verdict.seconds for r in good), default=0)
            told = f"{title}: {len(results)} lives, {len(good)} ok, {len(wrong)} not; the longest took {longest:.0f} s."
            written += [f"{told}\n\n{table(results, faults)}\n"]
            for result in wrong:
                print(f"{result.case.call} x {result.case.fault.name}: {result.cell} {result.verdict.detail}")
            print(told, flush=True)
    text = f"{datetime.now(UTC):%Y-%m-%d}, revision {revision()}, {time.monotonic() - started:.0f} s\n\n" + "\n".join(
        written
    )
    print(text)
    if given.table:
        given.table.write_text(text)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
