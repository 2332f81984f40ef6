"""Files per trial, and TensorBoard events that TensorBoard itself reads."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np

from trainyard.search.tensorboard_events import Scalars, crc32c, write_scalars
from trainyard.search.trial_files import TrialLogs
from trainyard.search.trials import TrialTable


def test_the_checksum_is_the_castagnoli_crc() -> None:
    # The check value of CRC-32C for these nine digits (RFC 3720, and every catalogue of CRCs).
    assert crc32c(b"123456789") == 0xE3069283


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing import event_file_loader

    found: dict[str, list[tuple[int, float]]] = {}
    for path in folder.glob("events.out.tfevents.*"):
        for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, value.simple_value))
    return found


def test_tensorboard_reads_what_is_written(tmp_path: Path) -> None:
    events = [Scalars(1.5, 1, {"a/b": 0.25}), Scalars(2.5, 300, {"a/b": -4.0, "c": 1e6})]
    write_scalars(tmp_path / "events.out.tfevents.1.host", events)
    assert scalars(tmp_path) == {"a/b": [(1, 0.25), (300, -4.0)], "c": [(300, 1e6)]}


def reported(folder: Path) -> Path:
    """A table of one trial that reports twice, the second time with a metric more."""
    table = TrialTable([{"trainable.config.lr": 0.5}], "reward", "max", "Last", TrialLogs(folder))
    table.start(0, "host-1")
    table.report(0, {"reward": 1.0, "nested": {"x": 2}, "note": "text"})
    table.report(0, {"reward": 3.0, "late": 7})
    table.finish(0)
    return folder / "trials" / "trial-1"


def test_a_trial_leaves_the_files_that_tunes_loggers_write(tmp_path: Path) -> None:
    folder = reported(tmp_path)
    lines = [json.loads(line) for line in (folder / "result.json").read_text().splitlines()]
    assert [line["training_iteration"] for line in lines] == [1, 2]
    assert lines[0] | {"reward": 1.0, "hostname": "host-1", "config": {"lr": 0.5}, "nested": {"x": 2}} == lines[0]
    assert json.loads((folder / "params.json").read_text()) == {"lr": 0.5}


def test_the_table_has_every_column_and_the_tags_are_tunes(tmp_path: Path) -> None:
    folder = reported(tmp_path)
    with (folder / "progress.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["reward"], first["nested/x"], first["config/lr"], first["late"]) == ("1.0", "2", "0.5", "")
    assert (second["reward"], second["late"]) == ("3.0", "7")
    found = scalars(folder)
    assert found["ray/tune/reward"] == [(1, 1.0), (2, 3.0)]
    assert found["ray/tune/nested/x"] == [(1, 2.0)]
    assert "ray/tune/time_this_iter_s" in found
    assert not {"ray/tune/training_iteration", "ray/tune/timestamp", "ray/tune/note"} & set(found)


def test_a_trial_without_a_result_leaves_nothing(tmp_path: Path) -> None:
    TrialLogs(tmp_path).finish(0, {})
    assert not list(tmp_path.rglob("*.*"))


def test_numbers_of_numpy_are_written_as_numbers(tmp_path: Path) -> None:
    logs = TrialLogs(tmp_path)
    logs.report(0, {}, {"reward": np.float32(1.5), "score": np.array([4.0])}, "host")
    logs.finish(0, {})
    found = scalars(tmp_path / "trials" / "trial-1")
    assert (found["ray/tune/reward"], found["ray/tune/score"]) == ([(1, 1.5)], [(1, 4.0)])
