import importlib.metadata
import json

import pytest

from thoar.cli import info


def test_json_names_versions_of_every_declared_dependency(capsys: pytest.CaptureFixture[str]) -> None:
    info.info(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert found["dependencies"]["numpy"] == importlib.metadata.version("numpy")
    assert {"torch", "msgspec", "pydicom"} <= {name.lower() for name in found["dependencies"]}
    assert "pytest" not in found["dependencies"]
    assert None not in found["dependencies"].values()
    assert "devices" not in found


def test_a_missing_dependency_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "requires", lambda _: ["no-such-thing>=1", "numpy>=2"])
    info.info()
    assert "no-such-thing MISSING" in capsys.readouterr().out


def test_devices_are_listed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    info.info(devices=True, as_json=True)
    devices = json.loads(capsys.readouterr().out)["devices"]
    assert devices[0].startswith("cpu (")
