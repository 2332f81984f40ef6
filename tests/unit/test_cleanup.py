"""What a clean-up may remove, without Ray."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from trainyard.cleanup import (
    CleanupReport,
    NodeReport,
    RayTrainingCleanup,
    experiments_of,
    make_folder,
    remove,
    select_nodes,
)
from trainyard.runs.storage import at_directory
from trainyard.search.driver import experiment_name


def node(number, *, alive=True):
    return {
        "NodeID": f"id-{number}",
        "Alive": alive,
        "NodeManagerAddress": f"10.0.0.{number}",
        "NodeManagerHostname": f"worker-{number}",
    }


NODES = [node(1), node(2), node(3, alive=False)]


class TestNodes:
    def test_without_a_list_every_alive_node_is_cleaned(self):
        chosen, unknown = select_nodes(NODES, None)
        assert [item["NodeID"] for item in chosen] == ["id-1", "id-2"]
        assert unknown == []

    def test_servers_are_addresses_or_hostnames_and_a_node_is_cleaned_once(self):
        chosen, _ = select_nodes(NODES, ["worker-2", "10.0.0.2", "worker-2"])
        assert [item["NodeID"] for item in chosen] == ["id-2"]

    @pytest.mark.parametrize("server", ["10.0.0.3", "nowhere"])
    def test_a_listed_server_that_is_no_alive_node_is_reported(self, server):
        chosen, (report,) = select_nodes(NODES, ["worker-1", server])
        assert [item["NodeID"] for item in chosen] == ["id-1"]
        assert report.server == server
        assert "is no alive node" in report.errors[0]
        assert "10.0.0.1 (worker-1)" in report.errors[0]

    def test_an_empty_list_cleans_nothing(self):
        assert select_nodes(NODES, []) == ([], [])

    def test_a_string_is_refused_before_its_letters_become_servers(self):
        with pytest.raises(TypeError, match="give a list"):
            RayTrainingCleanup(cleanup_servers="worker-1")


class TestExperiments:
    def test_an_experiment_is_known_by_its_time_and_name(self):
        made = [
            "/tmp/ray/session_1/artifacts/2026-01-01_10-00-00",
            "/tmp/ray/session_1/artifacts/2026-01-01_10-00-00/grid/driver_artifacts/trial_1",
            "/tmp/ray/session_1/artifacts/2026-01-01_10-00-00/grid/driver_artifacts/trial_2",
        ]
        assert experiments_of(made) == ["2026-01-01_10-00-00/grid"]

    def test_no_folder_above_an_experiment_is_ever_one(self):
        assert experiments_of(["/x/artifacts/", "/x/artifacts/2026", "/x/artifacts//y", "/elsewhere"]) == []


class TestRemoving:
    @pytest.fixture
    def folder(self, tmp_path):
        folder = tmp_path / "run"
        make_folder(folder, "token")
        (folder / "sub").mkdir()
        (folder / "sub" / "data").write_bytes(b"x" * 1000)
        return folder

    def test_the_runs_folder_goes_with_everything_in_it(self, folder):
        report = remove({str(folder): "token"}, [], dry_run=False)
        assert not folder.exists()
        assert (report.bytes, report.files) == (1000 + len("token"), 2)
        assert report.removed == (str(folder),)
        assert report.errors == ()

    def test_a_dry_run_measures_and_removes_nothing(self, folder):
        report = remove({str(folder): "token"}, [], dry_run=True)
        assert (folder / "sub" / "data").exists()
        assert report.bytes == 1005

    def test_a_folder_of_another_owner_stays(self, folder):
        report = remove({str(folder): "other"}, [], dry_run=False)
        assert folder.exists()
        assert "is not the run's own" in report.errors[0]

    def test_a_link_in_place_of_the_folder_is_not_followed(self, folder, tmp_path):
        link = tmp_path / "link"
        link.symlink_to(folder)
        assert remove({str(link): "token"}, [str(link)], dry_run=False).removed == ()
        assert (folder / "sub" / "data").exists()

    def test_links_inside_the_folder_go_without_what_they_point_to(self, folder, tmp_path):
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "kept").write_text("kept")
        (folder / "link").symlink_to(outside)
        remove({str(folder): "token"}, [], dry_run=False)
        assert (outside / "kept").read_text() == "kept"

    def test_tunes_folder_of_a_second_goes_when_nobody_else_uses_it(self, tmp_path):
        for name in ("grid", "other"):
            (tmp_path / "time" / name).mkdir(parents=True)
        remove({}, [str(tmp_path / "time" / "grid")], dry_run=False)
        assert (tmp_path / "time" / "other").exists()
        remove({}, [str(tmp_path / "time" / "other")], dry_run=False)
        assert not (tmp_path / "time").exists()
        assert tmp_path.exists()

    def test_of_two_searches_that_began_in_one_second_only_the_own_ones_files_go(self, tmp_path):
        names = [experiment_name(at_directory(tmp_path / "storage" / run)) for run in ("a", "b", "a")]
        assert names[0] == names[2] != names[1]
        artifacts = tmp_path / "session" / "artifacts"
        made = [artifacts / "2026-01-01_10-00-00" / name / "driver_artifacts" for name in names[:2]]
        for folder in made:
            folder.mkdir(parents=True)
        [experiment] = experiments_of([str(made[0])])
        report = remove({}, [str(artifacts / experiment)], dry_run=False)
        assert (report.removed, report.errors) == ((str(made[0].parent),), ())
        assert not made[0].parent.exists()
        assert made[1].is_dir()

    def test_what_is_not_there_is_no_error(self, tmp_path):
        assert remove({str(tmp_path / "none"): "token"}, [str(tmp_path / "no")], dry_run=False).errors == ()

    def test_of_nodes_that_share_a_machine_one_removes_the_folder_and_none_complains(self, tmp_path):
        with ThreadPoolExecutor(3) as nodes:
            for number in range(200):
                folder = tmp_path / f"run-{number}"
                make_folder(folder, "token")
                reports = list(nodes.map(lambda _, name=str(folder): remove({name: "token"}, [], dry_run=False), "abc"))
                assert [report.errors for report in reports] == [(), (), ()]
                assert sum(report.files for report in reports) == 1
        assert list(tmp_path.iterdir()) == []


def test_a_report_names_bytes_and_errors_of_every_node():
    report = CleanupReport((NodeReport("a", "a", 1500, 2), NodeReport("b", errors=("is no alive node",))))
    assert report.bytes == 1500
    assert str(report) == "a: freed 1,500 bytes in 2 files\nb: freed 0 bytes in 0 files\nb: is no alive node"
