"""Where a run was made."""

from pathlib import Path

import pytest

from jaxq.runs import provenance

pytestmark = pytest.mark.usefixtures("compiled_quickly")


def test_changes_to_a_checkout_are_marked(monkeypatch):
    says = {
        "rev-parse --show-toplevel": str(Path(provenance.__file__).resolve().parents[2]),
        "rev-parse HEAD": "abc",
        "status --porcelain": "",
    }
    monkeypatch.setattr(provenance, "_git", lambda *arguments: says[" ".join(arguments)])
    commit = provenance.commit.__wrapped__
    assert commit() == "abc"
    says["status --porcelain"] = " M jaxq/config.py"
    assert commit() == "abc+"
    says["rev-parse --show-toplevel"] = "/"  # of another project
    assert commit() is None


def test_a_processor_is_its_name_its_model_and_its_widest_vectors(tmp_path, monkeypatch):
    lines = "model name\t: Xeon\ncpu family\t: 6\nmodel\t\t: 85\nflags\t\t: sse avx avx2 avx512f\n"
    (tmp_path / "cpuinfo").write_text(f"{lines}\n{lines.replace('85', '99')}")
    monkeypatch.setattr(provenance, "_CPUINFO", tmp_path / "cpuinfo")
    assert provenance.processor() == "Xeon, cpu family 6, model 85, avx512f"
