"""The node's configuration, and what is recognised as its own when it is removed."""

import os
from pathlib import Path

from dev.cluster.node import configuration
from dev.cluster.node.dns import pod_resolv_conf
from dev.cluster.node.system import mounts_below, without_our_rules
from dev.cluster.prerequisites import missing
from dev.cluster.processes import Processes, start_time

SAVED = """\
*nat
:PREROUTING ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:KUBE-SERVICES - [0:0]
:CNI-aaa - [0:0]
:CNI-bbb - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "name: \\"trainyard\\" id: \\"1\\"" -j CNI-aaa
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \\"podman\\" id: \\"2\\"" -j CNI-bbb
-A CNI-aaa -d 10.244.0.0/16 -m comment --comment "name: \\"trainyard\\" id: \\"1\\"" -j ACCEPT
-A CNI-bbb -d 10.88.0.0/16 -m comment --comment "name: \\"podman\\" id: \\"2\\"" -j ACCEPT
COMMIT
"""


def test_only_our_own_rules_are_taken_out() -> None:
    assert without_our_rules(SAVED).splitlines() == [
        "*nat",
        ":PREROUTING ACCEPT [0:0]",
        ":POSTROUTING ACCEPT [0:0]",
        ":CNI-bbb - [0:0]",
        '-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "name: \\"podman\\" id: \\"2\\"" -j CNI-bbb',
        '-A CNI-bbb -d 10.88.0.0/16 -m comment --comment "name: \\"podman\\" id: \\"2\\"" -j ACCEPT',
        "COMMIT",
    ]


def test_mounts_are_taken_down_from_the_deepest() -> None:
    mounts = "a /c ext4 rw\nb /c/x/y overlay rw\nc /c/x tmpfs rw\nd /cc/x tmpfs rw\ne /c/with\\040space tmpfs rw\n"
    assert mounts_below([Path("/c")], mounts) == ["/c/x/y", "/c/with space", "/c/x", "/c"]


def test_pods_never_get_a_loopback_name_server() -> None:
    assert pod_resolv_conf("nameserver 127.0.0.53\nnameserver 192.0.2.1\n", "192.0.2.9") == "nameserver 192.0.2.1\n"
    assert pod_resolv_conf("search lan\nnameserver 127.0.0.53\n", "192.0.2.9") == "nameserver 192.0.2.9\n"


def test_missing_programs_are_reported_as_packages() -> None:
    assert missing({"sh": "dash", "no-such-program": "b-package", "/no/such/file": "a-package"}) == [
        "a-package",
        "b-package",
    ]


def test_a_process_is_ours_only_with_its_start_time(tmp_path: Path) -> None:
    processes = Processes(tmp_path / "records", tmp_path / "logs")
    assert processes.ensure("sleeper", ["sleep", "60"])
    assert not processes.ensure("sleeper", ["sleep", "60"])
    assert processes.is_running("sleeper")
    record = tmp_path / "records" / "sleeper.json"
    genuine = record.read_text()
    record.write_text(genuine.replace('"start_time": "', '"start_time": "9'))
    assert not processes.is_running("sleeper")
    record.write_text(genuine)
    processes.stop("sleeper")
    assert processes.names() == []


def test_the_start_time_of_a_process_that_is_gone_is_none() -> None:
    assert start_time(os.getpid()) is not None
    assert start_time(2**30) is None


def test_a_changed_configuration_is_another_file_and_an_equal_one_is_not_touched(tmp_path: Path) -> None:
    first = configuration.write(tmp_path, "proxy", {"mode": "iptables"})
    os.utime(first, (0, 0))
    assert configuration.write(tmp_path, "proxy", {"mode": "iptables"}) == first
    assert first.stat().st_mtime == 0
    assert configuration.write(tmp_path, "proxy", {"mode": "nftables"}) != first
