"""Whatever a progress file says, the status that follows from it is one that the API server takes and keeps."""

import copy
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.unit.operator.builders import ANALYSIS, CONTEXT, JOB, NOW, SETTINGS, alive, job, running
from trainyard_operator.decide import decide
from trainyard_operator.model import JobState, KeepResults, Observed
from trainyard_operator.policies.reporting import MAX_CONDITIONS
from trainyard_operator.readings.progress_line import parse
from trainyard_operator.readings.progress_schema import ProgressError
from trainyard_operator.status import Status, with_condition
from trainyard_operator.status_form import merge_patch, write_status

MANIFESTS = Path(__file__).parents[4] / "manifests"
CONTRACT = json.loads((MANIFESTS / "contract" / "progress.schema.json").read_text())
CONTRACT_VALIDATOR = jsonschema.Draft202012Validator(CONTRACT)
CRD = yaml.safe_load((MANIFESTS / "crd" / "trainyard.dev_trainingruns.yaml").read_text())
STATUS = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
BITS = {"int32": 31, "int64": 63}


def as_the_server_checks(schema: Any) -> Any:
    """The CRD's schema as JSON Schema: integers of their format, nothing that would be pruned, null where it may be."""
    if isinstance(schema, list):
        return [as_the_server_checks(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: as_the_server_checks(value) for key, value in schema.items()}
    if bits := BITS.get(str(schema.get("format"))):
        found |= {"maximum": 2**bits - 1, "minimum": schema.get("minimum", -(2**bits))}
    if "properties" in schema and isinstance(schema.get("type"), str):
        found["additionalProperties"] = False
    if schema.get("nullable") and "type" in schema:
        found["type"] = [schema["type"], "null"]
    return found


SERVER = jsonschema.Draft202012Validator(as_the_server_checks(STATUS))

BEST = {
    "metric": "reward",
    "value": 2.5,
    "iteration": 3,
    "trial": "t1",
    "parameters": {"lr": 0.1, "kind": "a", "on": True, "none": None},
    "metrics": {"loss": 0.5},
}
POINT = {"uri": "file:///x/5", "iteration": 5, "time": 1.0}
TRIAL = {
    "id": "t1",
    "state": "Failed",
    "hostname": "pod-1",
    "parameters": {"lr": 0.1, "none": None},
    "iteration": 3,
    "durationSeconds": 1.5,
    "metrics": {"reward": 2.5},
    "error": "ValueError: no",
}
LINE = {
    "schemaVersion": 1,
    "jobId": JOB,
    "seq": 4,
    "time": NOW.timestamp(),
    "final": True,
    "startedIteration": 2,
    "lostIterations": 3,
    "progress": {
        "percent": 50.0,
        "estimatedSecondsLeft": 3.5,
        "iteration": 5,
        "envSteps": 2000,
        "envStepsPerSecond": 12.5,
        "episodes": 10,
        "episodesPerSecond": 0.5,
        "episodesPerIteration": 7.5,
        "episodeReturnMean": -3.5,
    },
    "metrics": {"train/loss": 0.25},
    "trials": {"total": 2, "pending": 0, "running": 0, "succeeded": 1, "failed": 1, "items": [TRIAL], "best": BEST},
    "best": BEST,
    "checkpoint": {"latest": POINT, "best": POINT},
    "analysis": ANALYSIS,
    "conditions": [{"type": "CheckpointsNotKept", "status": "True", "reason": "NoStorage", "message": "m"}],
    "failure": {"kind": "Run", "reason": "ValueError", "message": "no", "field": "spec.seed"},
    "summary": {"return": 195.0, "note": "x", "none": None},
    "nonFinite": ["metrics.train/kl"],
}
INFINITE = 12345678987654321
"""Stands for a number whose exponent is too large for a float: JSON has it, Python reads it as infinite."""
ODD: list[Any] = [
    None, True, "", "x", "0", "x" * 5000, "\ud800", "\x00", "2026-05-01T12:00:00Z",
    -1, 0, 3.5, 101, 2**31, 2**53 + 1, 2**63, 10**30, 10**400, -(10**400), 1e300, -1e300, 1.797693134e308, INFINITE,
    [], {}, [1], {"x": None}, {"x": {"y": 1}}, {f"k{n}": 1 for n in range(65)}, [{}] * 101,
]  # fmt: skip


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every field of the line, and one that it has too many, by path."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*path, key)
        yield from places(item, (*path, key))
    if isinstance(value, dict):
        yield (*path, "tooMany")


def with_value(path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    line = copy.deepcopy(LINE)
    parent: Any = line
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return line


def written(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line).replace(str(INFINITE), "1e999").encode() + b"\n"


def merged(old: Any, patch: Any) -> Any:
    """What the API server makes of a merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    old = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            old.pop(key, None)
        else:
            old[key] = merged(old.get(key), value)
    return old


def assert_taken_and_kept(one: Observed) -> None:
    """The status after this observation fits the schema, and what the server keeps of it is all of it."""
    plan = decide(one, NOW, SETTINGS)
    form = write_status(plan.status)
    sent = json.loads(json.dumps(form, allow_nan=False).encode().decode())
    SERVER.validate(sent)
    before = write_status(one.run.status)
    kept = merged(before, json.loads(json.dumps(merge_patch(before, form))))
    assert merge_patch(kept, form) == {}
    for effect in plan.effects:
        if isinstance(effect, KeepResults):
            json.dumps(effect.config_map["data"], ensure_ascii=False).encode()


def refused(tail: bytes) -> Observed:
    """A run whose driver said this and then refused to work: the status and the kept results have all of it."""
    return alive(running(), progress=parse(tail, JOB), job=job(JobState.FAILED, 2), log_tail="log\n")


def is_used(tail: bytes) -> bool:
    try:
        return parse(tail, JOB) is not None
    except ProgressError:
        return False


def test_the_line_of_these_tests_is_one_of_the_contract_and_uses_all_of_it() -> None:
    CONTRACT_VALIDATOR.validate(LINE)
    unused = {
        (name, field)
        for name, value, schema in [
            ("line", LINE, CONTRACT),
            ("progress", LINE["progress"], CONTRACT["properties"]["progress"]),
            ("trials", LINE["trials"], CONTRACT["properties"]["trials"]),
            ("trial", TRIAL, CONTRACT["properties"]["trials"]["properties"]["items"]["items"]),
            ("failure", LINE["failure"], CONTRACT["properties"]["failure"]),
            ("best", BEST, CONTRACT["$defs"]["best"]),
            ("checkpoint", POINT, CONTRACT["$defs"]["checkpoint"]),
        ]
        for field in set(schema["properties"]) - set(value)
    }
    assert unused == set()


def test_the_whole_line_gives_a_status_that_is_taken_and_kept() -> None:
    for reading in (job(), job(JobState.SUCCEEDED, 0), job(JobState.FAILED, 1)):
        assert_taken_and_kept(alive(running(), progress=parse(written(LINE), JOB), job=reading))


@pytest.mark.parametrize("path", list(places(LINE)), ids=lambda path: ".".join(map(str, path)))
def test_an_odd_value_is_refused_or_gives_a_status_that_is_taken_and_kept(path: tuple[str | int, ...]) -> None:
    for tail in (written(with_value(path, value)) for value in ODD):
        if is_used(tail):
            assert_taken_and_kept(refused(tail))


def bounds(schema: Mapping[str, Any], path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """For every limit in the contract the place where it stands and a value just beyond it."""
    schema = CONTRACT["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
    match schema:
        case {"minimum": least}:
            yield path, least - 1
    match schema:
        case {"maximum": most}:
            yield path, most + 1
    match schema:
        case {"enum": options}:
            yield path, f"{options[0]}x"
        case {"pattern": _}:
            yield path, "not a word"
        case {"maxLength": most}:
            yield path, "x" * (most + 1)
    for key, below in schema.get("properties", {}).items():
        yield from bounds(below, (*path, key))
    if "maxItems" in schema:
        yield path, None
    if "maxProperties" in schema:
        yield path, {f"k{n}": 1 for n in range(schema["maxProperties"] + 1)}
    if isinstance(schema.get("items"), dict):
        yield from bounds(schema["items"], (*path, 0))


CUT = {("failure", "reason"), ("failure", "message"), ("failure", "field"), ("conditions", 0, "message"),
       ("trials", "items", 0, "error")}  # fmt: skip
"""Texts for people: too long, they are cut."""
UNUSED = {("jobId",), ("nonFinite",), ("nonFinite", 0)}
"""The job is compared with the one that was submitted; the list of left-out numbers is for people who read the file."""
BEYOND = [(path, value) for path, value in bounds(CONTRACT) if path not in UNUSED]


@pytest.mark.parametrize(("path", "value"), BEYOND, ids=[f"{'.'.join(map(str, p))}={str(v)[:12]}" for p, v in BEYOND])
def test_what_is_beyond_a_limit_of_the_contract_is_refused_or_cut(path: tuple[str | int, ...], value: Any) -> None:
    if value is None:  # a list that is too long
        items = LINE["conditions"] if path == ("conditions",) else LINE["trials"]["items"]
        value = items * 101
    line = with_value(path, value)
    with pytest.raises(jsonschema.ValidationError):
        CONTRACT_VALIDATOR.validate(line)
    if path in CUT:
        parse(written(line), JOB)
    else:
        with pytest.raises(ProgressError, match=str(path[0])):
            parse(written(line), JOB)


def test_a_too_long_word_of_the_driver_is_cut_and_not_lost() -> None:
    line = parse(written(with_value(("failure", "message"), "why " * 2000)), JOB)
    assert line is not None
    assert line.failure is not None
    assert line.failure["message"] == ("why " * 2000)[:2048]


def test_what_the_api_server_would_drop_never_reaches_the_status() -> None:
    line = parse(written(with_value(("best", "tooMany"), 1)), JOB)
    assert line is not None
    assert "tooMany" not in (line.best or {})


def test_a_program_that_invents_conditions_cannot_fill_the_status() -> None:
    status = Status()
    for number in range(MAX_CONDITIONS):
        kind = f"Made{chr(65 + number // 26)}{chr(65 + number % 26)}"
        status = with_condition(status, kind, True, "Made", "", CONTEXT.now, 1)
    crowded = alive(running(conditions=status.conditions), progress=parse(written(LINE), JOB), job=job())
    plan = decide(crowded, NOW, SETTINGS)
    assert plan.status.condition("CheckpointsNotKept") is None
    assert plan.status.is_true("Running")
    assert_taken_and_kept(crowded)


def test_what_ray_says_of_a_lost_driver_is_cut() -> None:
    assert_taken_and_kept(alive(running(), job=job(JobState.FAILED, None, "m" * 40_000)))


def test_a_failure_without_words_still_fits_the_schema() -> None:
    assert_taken_and_kept(refused(written(with_value(("failure", "message"), ""))))


def test_a_checkpoint_fits_below_the_longest_uri_of_a_storage() -> None:
    spec = CRD["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    below = f"/{'n' * 63}/{'r' * 63}/{'u' * 36}/checkpoints/{10**9}"
    longest = spec["storage"]["properties"]["uri"]["maxLength"] + len(below)
    for kind in ("latest", "best"):
        assert STATUS["properties"]["checkpoint"]["properties"][kind]["properties"]["uri"]["maxLength"] >= longest
    tail = written(with_value(("checkpoint", "latest", "uri"), "u" * longest))
    assert_taken_and_kept(refused(tail))
