"""Which versions go into the environment of another Ray, and what is counted there."""

from dev import ray_versions


def test_what_ray_requires_is_free_and_all_else_stays_pinned():
    text = "# by hand\nclick==8.5.1\nmsgpack==1.1\nPy_Arrow==26.0\nray==2.60.0\ntorch==2.15.0\n"
    assert ray_versions.constraints(text, {"click", "py-arrow"}) == "msgpack==1.1\ntorch==2.15.0\n"


def test_ray_requires_gymnasium_and_arrow_for_its_extras():
    assert {"gymnasium", "pyarrow", "click"} <= ray_versions.required_by_ray()


def test_outcomes_are_counted_over_suites_and_an_error_is_a_failure():
    report = (
        '<testsuites><testsuite tests="10" failures="2" errors="1" skipped="3"/>'
        '<testsuite tests="4" failures="0" errors="0" skipped="0"/></testsuites>'
    )
    assert ray_versions.outcomes(report) == {"passed": 8, "failed": 3, "skipped": 3}


def test_a_row_says_which_groups_of_names_are_missing():
    found = {"gymnasium": "1.1.1", "missing": {"rounds": "no name", "SAC's loss": "no other"}}
    counts = ray_versions.outcomes('<testsuite tests="7" failures="1" skipped="2"/>')
    assert ray_versions.row("2.50.1", found, counts) == "| 2.50.1 | 1.1.1 | 4 | 1 | 2 | rounds, SAC's loss |"
