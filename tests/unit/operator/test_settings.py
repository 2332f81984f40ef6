import pytest

from trainyard_operator.settings import OPTIONS, DashboardAccess, SettingsError, load

ENOUGH = {
    "TRAINYARD_OPERATOR_NAMESPACE": "system",
    "TRAINYARD_OPERATOR_KEY": "0123456789abcdef",
    "TRAINYARD_OPERATOR_TRAINING_IMAGE": "example/training:1",
}


def test_what_is_required_is_enough() -> None:
    settings = load([], ENOUGH)
    assert (settings.namespace, settings.key, settings.training.image) == (
        "system",
        b"0123456789abcdef",
        "example/training:1",
    )
    assert settings.namespaces == ()
    assert settings.dashboard_access == DashboardAccess.SERVICE


def test_a_flag_goes_before_a_variable() -> None:
    environment = {**ENOUGH, "TRAINYARD_OPERATOR_HTTP_PORT": "9000"}
    assert load([], environment).http_port == 9000
    assert load(["--http-port", "9001"], environment).http_port == 9001


def test_values_are_read() -> None:
    settings = load(
        ["--watch-namespaces", "a, b", "--pod-max-memory", "64Gi", "--default-storage", '{"uri": "s3://x"}'],
        {**ENOUGH, "TRAINYARD_OPERATOR_POLL_SECONDS": "2", "TRAINYARD_OPERATOR_LEASE_SECONDS": "30"},
    )
    assert settings.namespaces == ("a", "b")
    assert settings.sizing.pod_max_memory == 64 * 2**30
    assert settings.training.storage == {"uri": "s3://x"}
    assert settings.timing.poll == 2
    assert (settings.lease.duration, settings.lease.renew) == (30, 4)


def test_empty_variables_are_as_good_as_none() -> None:
    empty = {o.variable: "" for o in OPTIONS if o.variable not in ENOUGH}
    assert load([], {**ENOUGH, **empty}) == load([], ENOUGH)


def test_all_faults_are_told_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        load(["--http-port", "eighty", "--pod-max-cpu", "0", "--default-storage", "[]"], {})
    text = str(caught.value)
    for word in (
        "--namespace",
        "--key-file",
        "--training-image",
        "--http-port",
        "eighty",
        "--pod-max-cpu",
        "--default-storage",
    ):
        assert word in text
    assert len(text.splitlines()) == 6


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--http-port", "eighty", "must be a whole number, 1 or more"),
        ("--workers", "0", "must be a whole number, 1 or more"),
        ("--cpu-request-per-logical-cpu", "half", "must be a number, 0 or more"),
        ("--poll-seconds", "nan", "must be a number, 0 or more"),
        ("--lease-seconds", "0", "must be more than 0"),
        ("--pod-max-memory", "much", "write for instance 500m, 2, 4Gi"),
        ("--dashboard-access", "Proxy", "must be Service or ApiProxy"),
        ("--default-storage", "{uri", "must be a JSON object, as spec.storage"),
        ("--log-level", "loud", "must be debug, info, warning or error"),
    ],
)
def test_a_fault_says_what_the_setting_has_to_be(flag, value, words) -> None:
    with pytest.raises(SettingsError) as caught:
        load([flag, value], ENOUGH)
    assert str(caught.value).startswith(f"{flag} or TRAINYARD_OPERATOR_")
    assert repr(value) in str(caught.value)
    assert words in str(caught.value)


def test_a_key_is_never_shown(tmp_path) -> None:
    with pytest.raises(SettingsError) as caught:
        load([], {**ENOUGH, "TRAINYARD_OPERATOR_KEY": "hunter2"})
    assert "hunter2" not in str(caught.value)
    assert "0123456789abcdef" not in repr(load([], ENOUGH))


def test_a_key_file_is_read(tmp_path) -> None:
    file = tmp_path / "key"
    file.write_text("fedcba9876543210\n")
    assert load(["--key-file", str(file)], ENOUGH).key == b"fedcba9876543210"
    with pytest.raises(SettingsError, match="key-file"):
        load(["--key-file", str(tmp_path / "none")], ENOUGH)
