"""The API server's verdict on a file beside the training library's.

python -m tests.apiserver.parity --count 5000 --seed 1    compares mutants of the corpus and prints a table
"""

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kubernetes import config
from kubernetes.client.exceptions import ApiException

from dev.cluster import binaries
from dev.cluster.apiserver import ApiServer
from tests.apiserver.mutants import Mutant, Mutants
from tests.apiserver.runs import Runs
from trainyard.errors import Fault, InvalidConfiguration
from trainyard.spec.document import read_text
from trainyard.spec.parsing import parse_document

CRD = Path(__file__).parents[2] / "manifests" / "crd"
ACCEPTED = ""


@dataclass(frozen=True)
class Verdict:
    """What each says of one mutant: nothing, or why it is refused."""

    mutant: Mutant
    server: str
    library: tuple[Fault, ...]

    @property
    def agree(self) -> bool:
        if self.server == ACCEPTED and self.library:
            # All of PEP 508 is more than CEL can say: of a requirement the library knows more.
            return all(fault.field.startswith("spec.runtimeEnv.pip[") for fault in self.library)
        return (self.server == ACCEPTED) == (not self.library)

    @property
    def kind(self) -> str:
        return self.mutant.kinds[0] if len(self.mutant.kinds) == 1 else "two changes"

    def __str__(self) -> str:
        what = f"{', '.join(self.mutant.kinds)} at {self.mutant.path}"
        library = "; ".join(map(str, self.library))
        return f"{what}\n  API server: {self.server or 'accepts'}\n  library: {library or 'accepts'}"


def schema() -> dict[str, Any]:
    """The schema of the CRD as it is in the repository."""
    (file,) = CRD.glob("*trainingruns.yaml")
    return dict(yaml.safe_load(file.read_text())["spec"]["versions"][0]["schema"]["openAPIV3Schema"])


def of_server(document: dict[str, Any], runs: Runs) -> str:
    try:
        runs.create_object(document, dry_run=True)
    except ApiException as error:
        if error.status not in (400, 422):
            raise
        return str(json.loads(error.body)["message"])
    return ACCEPTED


def of_library(text: str) -> tuple[Fault, ...]:
    """Anything but InvalidConfiguration is raised: the library has no other word for a file that is wrong."""
    try:
        parse_document(read_text(text))
    except InvalidConfiguration as error:
        return error.faults
    return ()


def compared(mutants: Iterable[Mutant], runs: Runs) -> Iterable[Verdict]:
    for mutant in mutants:
        yield Verdict(mutant, of_server(mutant.document, runs), of_library(json.dumps(mutant.document)))


def compared_as_yaml(mutants: Iterable[tuple[Mutant, str]], kubeconfig: Path) -> Iterable[Verdict]:
    """Through one kubectl, which goes on after a file that is refused."""
    texts = [(mutant, text.replace("{name}", f"trap-{number}")) for number, (mutant, text) in enumerate(mutants)]
    kubectl = [binaries.assets() / "kubectl", f"--kubeconfig={kubeconfig}", "create", "--filename=-"]
    options = ["--dry-run=server", "--output=name"]
    stream = "\n---\n".join(text for _, text in texts)
    told = subprocess.run([*kubectl, *options], input=stream, capture_output=True, text=True, check=False)
    accepted = set(re.findall(r"^trainingrun\.trainyard\.dev/(trap-[0-9]+)$", told.stdout, re.MULTILINE))
    for number, (mutant, text) in enumerate(texts):
        yield Verdict(mutant, ACCEPTED if f"trap-{number}" in accepted else "refuses", of_library(text))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=5000, help="mutants that go to the API server as JSON")
    parser.add_argument("--traps", type=int, default=500, help="mutants that go through kubectl as YAML")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    source = Mutants(schema(), arguments.seed)
    counts: Counter[tuple[str, str]] = Counter()
    differences = []
    with ApiServer() as server:
        server.apply(CRD)
        with config.new_client_from_config(str(server.kubeconfig)) as api:
            runs = Runs(api, "default")
            verdicts = [
                *compared(source.draw(arguments.count), runs),
                *compared_as_yaml(source.traps(arguments.traps), server.kubeconfig),
            ]
    for verdict in verdicts:
        outcome = "different" if not verdict.agree else "accepted" if verdict.server == ACCEPTED else "refused"
        counts[verdict.kind, outcome] += 1
        if not verdict.agree:
            differences.append(verdict)
    print(table(counts))
    for verdict in differences:
        print(verdict)
    return 1 if differences else 0


def table(counts: Counter[tuple[str, str]]) -> str:
    """The verdicts by kind of change, as a table of Markdown."""
    columns = ("accepted", "refused", "different")
    kinds = sorted({kind for kind, _ in counts})
    rows = [[kind, *(str(counts[kind, column]) for column in columns)] for kind in kinds]
    rows.append(["all", *(str(sum(counts[kind, column] for kind in kinds)) for column in columns)])
    lines = ["| change | accepted by both | refused by both | different |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


if __name__ == "__main__":
    sys.exit(main())
