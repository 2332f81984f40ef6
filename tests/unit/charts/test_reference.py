"""The reference page says what the CRD says."""

import runpy
import subprocess
import sys

from tests.unit.charts.conftest import ROOT

GENERATOR = ROOT / "docs" / "generate_reference.py"


def test_the_page_has_not_drifted() -> None:
    result = subprocess.run([sys.executable, GENERATOR, "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_part_of_a_field_reaches_the_page() -> None:
    generator = runpy.run_path(str(GENERATOR))
    field = {
        "type": "integer",
        "description": "Number of\n  pods | nodes.",
        "default": 1,
        "minimum": 0,
        "maximum": 5,
        "x-kubernetes-validations": [{"rule": "true", "message": "use <few>"}],
    }
    assert generator["_description"](field) == "Number of pods \\| nodes. Default: `1`. 0 to 5. Rule: use &lt;few>."


def test_a_drifted_page_is_shown(tmp_path, monkeypatch, capsys) -> None:
    generator = runpy.run_path(str(GENERATOR))
    monkeypatch.setitem(generator["main"].__globals__, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(sys, "argv", ["generate_reference.py", "--check"])
    assert generator["main"]() == 1
    assert "has drifted" in capsys.readouterr().err
