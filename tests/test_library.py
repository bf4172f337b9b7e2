"""Where files are found, and in which order."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppdsim import library, profile
from ppdsim.errors import UnknownNameError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PPDSIM_LIBRARY", str(tmp_path))
    for folder in ("profiles", "scenarios"):
        (tmp_path / folder).mkdir()
    return tmp_path


def test_the_user_folder_is_the_platform_s_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPDSIM_LIBRARY", raising=False)
    assert library.user_folder().name == "ppdsim"


def test_a_shipped_scenario_is_found_by_name(own: Path) -> None:
    path = library.find("scenario", "one-pair")
    assert path.name == "one-pair.yaml"
    assert library.installed("scenario")["one-pair"] == path


def test_the_users_file_goes_before_the_shipped_one(own: Path) -> None:
    mine = own / "scenarios" / "one-pair.yaml"
    mine.write_text("mine")
    assert library.find("scenario", "one-pair") == mine


def test_a_profile_may_have_dots_in_its_name(own: Path) -> None:
    path = own / "profiles" / "h200_sglang-0.5.17.json"
    path.write_text("{}")
    assert library.find("profile", "h200_sglang-0.5.17") == path
    assert "h200_sglang-0.5.17" in library.installed("profile")


def test_a_short_name_stands_for_the_recommended_profile_and_an_own_file_goes_first(own: Path) -> None:
    full = library.recommended().short_names["h200"]
    assert library.find("profile", "h200") == library.installed("profile")[full]
    mine = own / "profiles" / "h200.json"
    mine.write_text("{}")
    assert library.find("profile", "h200") == mine


def test_each_short_name_is_of_a_measured_profile_and_each_shipped_profile_has_advice(own: Path) -> None:
    recommended = library.recommended()
    shipped = library.installed("profile")
    assert set(recommended.advice) == set(shipped)
    assert set(recommended.short_names.values()) <= set(shipped)
    for name, full in recommended.short_names.items():
        assert full.startswith(name)
        assert profile.load(shipped[full]).derivation is None


def test_names_lists_the_short_ones_too(own: Path) -> None:
    assert library.names("profile") == [*library.recommended().short_names, *library.installed("profile")]
    assert library.names("scenario") == list(library.installed("scenario"))


def test_names_are_sorted(own: Path) -> None:
    names = list(library.installed("scenario"))
    assert names == sorted(names)
    assert len(names) >= 4


@pytest.mark.parametrize("name", ["mine.yaml", "sub/mine.yaml", "./sub/mine"])
def test_a_path_is_not_looked_up(own: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(own)
    with pytest.raises(UnknownNameError, match="does not exist; run 'ppdsim scenarios'"):
        library.find("scenario", name)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("x")
    assert library.find("scenario", name) == Path(name)


def test_an_unknown_name_lists_the_valid_ones(own: Path) -> None:
    with pytest.raises(
        UnknownNameError, match=r"valid: .*one-pair.*did you mean 'one-pair'.*'ppdsim scenarios'"
    ) as caught:
        library.find("scenario", "one-piar")
    assert caught.value.exit_code == 2
