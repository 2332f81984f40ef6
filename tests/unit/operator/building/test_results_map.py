import csv
import io
import json

from tests.unit.operator.builders import NAME, UID, line, run
from trainyard_operator.building.results_map import as_markdown, results_config_map, trial_table

ITEMS = [
    {"id": "t1", "state": "Succeeded", "parameters": {"lr": 0.01, "kind": "a,b"}, "metrics": {"reward": 1010.0}},
    {
        "id": "t2",
        "state": "Failed",
        "hostname": "pod-2",
        "parameters": {"lr": 0.001},
        "iteration": 3,
        "durationSeconds": 1.5,
        "metrics": {"reward": 1.0, "loss": 0.5},
        "error": "a | b\nc",
    },
]
TRIALS = {"total": 2, "pending": 0, "running": 0, "succeeded": 1, "failed": 1, "items": ITEMS}


def test_the_config_map_belongs_to_the_run_and_outlives_the_cluster() -> None:
    made = results_config_map(run(), line())
    assert made["metadata"]["name"] == f"{NAME}-results"
    (owner,) = made["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("TrainingRun", UID)


def test_the_summary_is_the_drivers_with_the_progress_and_the_best() -> None:
    best = {"metric": "reward", "value": 1010.0, "trial": "t1"}
    made = results_config_map(run(), line(summary={"algorithm": "PPO"}, trials={**TRIALS, "best": best}))
    summary = json.loads(made["data"]["summary.json"])
    assert summary == {"iteration": 3, "percent": 30.0, "algorithm": "PPO", "best": best}


def test_the_drivers_last_line_is_kept_as_it_is() -> None:
    assert results_config_map(run(), line(raw='{"x": 1}'))["data"]["progress.json"] == '{"x": 1}'


def test_a_run_without_trials_has_no_table() -> None:
    assert set(results_config_map(run(), line())["data"]) == {"summary.json", "progress.json"}


def test_the_table_has_a_row_for_each_trial_and_a_column_for_each_parameter_and_metric() -> None:
    data = results_config_map(run(), line(trials=TRIALS))["data"]
    rows = list(csv.DictReader(io.StringIO(data["trials.csv"])))
    assert [row["trial"] for row in rows] == ["t1", "t2"]
    assert (rows[0]["lr"], rows[0]["kind"], rows[0]["reward"], rows[0]["loss"]) == ("0.01", "a,b", "1010.0", "")
    assert (rows[1]["hostname"], rows[1]["iteration"], rows[1]["seconds"]) == ("pod-2", "3", "1.5")
    assert rows[1]["error"] == "a | b\nc"


def test_markdown_cells_keep_to_their_cells() -> None:
    text = as_markdown(*trial_table(ITEMS))
    lines = text.splitlines()
    assert len(lines) == 4
    assert all(one.count(" | ") == lines[0].count(" | ") for one in (lines[1], lines[2]))
    assert "a \\| b c" in lines[3]
