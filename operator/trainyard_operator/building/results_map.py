"""The ConfigMap that stays when the cluster is deleted: summary, trial table, the driver's final line. Pure."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from trainyard_operator import names
from trainyard_operator.building.raycluster import owner_reference, run_labels
from trainyard_operator.model import Manifest, Run
from trainyard_operator.readings.progress_line import ProgressLine

Item = Mapping[str, Any]


def results_config_map(run: Run, line: ProgressLine) -> Manifest:
    """Keys: summary.json, progress.json (the driver's final line), and for a search trials.csv and trials.md."""
    cluster = names.cluster_name(run.key.name, run.uid, run.status.attempt)
    summary = {**line.progress, **(line.summary or {})}
    if best := (line.trials or {}).get("best") or line.best:
        summary["best"] = best
    data = {"summary.json": json.dumps(summary, indent=1, sort_keys=True), "progress.json": line.raw}
    if line.trials:
        header, rows = trial_table(line.trials["items"])
        data |= {"trials.csv": as_csv(header, rows), "trials.md": as_markdown(header, rows)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.results_name(cluster),
            "namespace": run.key.namespace,
            "labels": run_labels(run),
            "ownerReferences": [owner_reference(run)],
        },
        "data": data,
    }


def trial_table(items: Sequence[Item]) -> tuple[list[str], list[list[str]]]:
    """Header and rows: id, state, host, parameters by path, iteration, duration, metrics; a missing value is empty."""
    parameters = _union(item["parameters"] for item in items)
    metrics = _union(item.get("metrics", {}) for item in items)
    header = ["trial", "state", "hostname", *parameters, "iteration", "seconds", *metrics, "error"]
    rows = [
        [
            item["id"],
            item["state"],
            item.get("hostname", ""),
            *(_text(item["parameters"].get(p)) for p in parameters),
            _text(item.get("iteration")),
            _text(item.get("durationSeconds")),
            *(_text(item.get("metrics", {}).get(m)) for m in metrics),
            item.get("error", ""),
        ]
        for item in items
    ]
    return header, rows


def as_csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def as_markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |\n"

    return line(header) + line(["---"] * len(header)) + "".join(line(row) for row in rows)


def _union(maps: Any) -> list[str]:
    """The keys of all maps, in the order of their first appearance."""
    return list(dict.fromkeys(key for one in maps for key in one))


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
