"""Settings: defaults, file, environment, and an error that names what is wrong and what is allowed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from worker import config
from worker.config import ConfigError, Settings, load

FIELDS = dataclasses.fields(Settings)
BOUNDED = [field for field in FIELDS if field.metadata["low"] is not None]


def configured(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> Settings:
    """Settings of a run directory whose nightfeed.toml has this text."""
    if text:
        (tmp_path / "nightfeed.toml").write_text(text)
    return load(tmp_path, environ or {})


def refused(tmp_path: Path, text: str = "", environ: dict[str, str] | None = None) -> str:
    """What is said about it."""
    with pytest.raises(ConfigError) as caught:
        configured(tmp_path, text, environ)
    return str(caught.value)


def test_nothing_said_gives_the_defaults(tmp_path: Path) -> None:
    """The promises of the contract: 60 days, gap 3, 200 items, port 8080."""
    settings = configured(tmp_path)
    assert settings == Settings()
    assert (settings.window_days, settings.gap, settings.list_length, settings.port) == (60, 3, 200, 8080)


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    """A name in both is the environment's; a name in one is that one's."""
    settings = configured(tmp_path, "gap = 5\nport = 1234\n", {"NIGHTFEED_GAP": "7", "NIGHTFEED_REPEATS": "true"})
    assert (settings.gap, settings.port, settings.repeats) == (7, 1234, True)


def test_the_file_that_is_named_is_the_one_that_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NIGHTFEED_CONFIG before the run directory before the working directory."""
    run, work = tmp_path / "run", tmp_path / "work"
    for number, folder in enumerate((run, work, tmp_path), 1):
        folder.mkdir(exist_ok=True)
        (folder / "nightfeed.toml").write_text(f"gap = {number}\n")
    monkeypatch.chdir(work)
    named = {"NIGHTFEED_CONFIG": str(tmp_path / "nightfeed.toml")}
    assert load(run, named).gap == 3
    assert load(run, {}).gap == 1
    (run / "nightfeed.toml").unlink()
    assert load(run, {}).gap == 2
    (work / "nightfeed.toml").unlink()
    assert load(run, {}).gap == Settings().gap


def test_a_named_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    """Not the defaults in silence."""
    path = str(tmp_path / "nope.toml")
    message = refused(tmp_path, environ={"NIGHTFEED_CONFIG": path})
    assert message == f"NIGHTFEED_CONFIG names {path}, which is not a file"


@pytest.mark.parametrize("text", ["gap = ", "gap: 3", '\x00', "gap = 3\ngap = 4\n"])
def test_what_is_no_toml_names_the_file(tmp_path: Path, text: str) -> None:
    """And where in it."""
    assert refused(tmp_path, text).startswith(f"{tmp_path / 'nightfeed.toml'}: not TOML: ")


def test_bytes_that_are_no_text_name_the_file(tmp_path: Path) -> None:
    """UTF-8 is the only encoding of TOML."""
    (tmp_path / "nightfeed.toml").write_bytes(b'cookie_name = "\xff"')
    assert refused(tmp_path).startswith(f"{tmp_path / 'nightfeed.toml'}: not TOML: ")


def test_an_unknown_name_is_named_with_those_there_are(tmp_path: Path) -> None:
    """In the file and in the environment; a table is a name like any other."""
    for text, environ, where, name in (
        ("gab = 3\n", {}, f"{tmp_path / 'nightfeed.toml'}: gab: ", "gab"),
        ("[edge]\nport = 1\n", {}, f"{tmp_path / 'nightfeed.toml'}: edge: ", "edge"),
        ("gap = 3\n", {"NIGHTFEED_GAB": "3"}, "NIGHTFEED_GAB: ", "gab"),
    ):
        message = refused(tmp_path, text, environ)
        assert message.startswith(f"{where}there is no setting {name!r}; known: ")
        assert all(field.name in message for field in FIELDS)


def test_variables_that_say_where_things_are_are_no_settings(tmp_path: Path) -> None:
    """Nor is anything without the prefix."""
    environ = {"NIGHTFEED_RUN": "x", "NIGHTFEED_KUAIRAND": "y", "NIGHTFEED_VENV": "z", "GAP": "9", "PATH": "p"}
    assert configured(tmp_path, environ=environ) == Settings()


@pytest.mark.parametrize("field", BOUNDED, ids=lambda field: field.name)
def test_every_bound_is_allowed_and_the_next_value_is_not(tmp_path: Path, field: dataclasses.Field[Any]) -> None:
    """Named with its bounds, from the file as from the environment."""
    low, high = field.metadata["low"], field.metadata["high"]
    step = 1 if type(field.default) is int else 0.001
    for value in (low, high):
        assert config.checked(field.name, value, "here") == value
    for value in (low - step, high + step):
        said = f"must be from {low} to {high}"
        assert refused(tmp_path, f"{field.name} = {value}\n").endswith(f"{field.name} is {value}: {said}")
        variable = f"NIGHTFEED_{field.name.upper()}"
        (tmp_path / "nightfeed.toml").unlink()
        assert refused(tmp_path, environ={variable: str(value)}) == f"{variable} is {value}: {said}"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.name)
def test_every_setting_has_a_meaning_and_a_default_that_is_allowed(field: dataclasses.Field[Any]) -> None:
    """And a check: bounds, a pattern, or being true or false."""
    assert field.metadata["doc"]
    assert config.checked(field.name, field.default, "here") == field.default
    assert field.metadata["low"] is not None or field.metadata["form"] or type(field.default) is bool


@pytest.mark.parametrize(("line", "said"), [
    ("gap = 3.0", "is 3.0: must be a whole number"),
    ("gap = true", "is True: must be a whole number"),
    ('gap = "3"', "is '3': must be a whole number"),
    ('half_life_hours = "36"', "is '36': must be a number"),
    ("half_life_hours = nan", "is nan: must be from 0.1 to 8760.0"),
    ("half_life_hours = inf", "is inf: must be from 0.1 to 8760.0"),
    ("repeats = 1", "is 1: must be true or false"),
    ("cookie_name = 5", "is 5: must be text"),
    ("gap = [3]", "is [3]: must be a whole number"),
    ('listen = "example.org"', "must match"),
    ('cookie_name = "a;b"', "must match"),
    ('cookie_same_site = "lax"', "must match Lax|Strict|None"),
    ('redis_maxmemory = "lots"', "must match"),
    ('rate_limit = "0"', "must match off|"),
    ('rate_limit = "off\\n"', "must match off|"),
])
def test_a_value_of_another_type_or_form_is_named(tmp_path: Path, line: str, said: str) -> None:
    """With the file, the setting, the value and what it must be."""
    message = refused(tmp_path, line)
    assert message.startswith(f"{tmp_path / 'nightfeed.toml'}: {line.split()[0]} is ")
    assert said in message


@pytest.mark.parametrize(("name", "text", "said"), [
    ("GAP", "three", "must be a whole number"), ("GAP", "", "must be a whole number"),
    ("GAP", "3.5", "must be a whole number"), ("REPEATS", "perhaps", "must be true or false"),
    ("HALF_LIFE_HOURS", "long", "must be a number"), ("HALF_LIFE_HOURS", "nan", "must be from"),
])
def test_a_variable_that_cannot_be_read_is_named(tmp_path: Path, name: str, text: str, said: str) -> None:
    """With its text and what it must be."""
    message = refused(tmp_path, environ={f"NIGHTFEED_{name}": text})
    assert message.startswith(f"NIGHTFEED_{name} is ")
    assert said in message


@pytest.mark.parametrize(("text", "value"), [
    ("true", True), ("TRUE", True), ("1", True), ("on", True), ("yes", True),
    ("false", False), ("0", False), ("off", False), ("No", False),
])
def test_true_and_false_are_read_as_people_write_them(tmp_path: Path, text: str, value: bool) -> None:
    """In variables, which have no types."""
    assert configured(tmp_path, environ={"NIGHTFEED_REPEATS": text}).repeats is value


def test_a_whole_number_is_a_number(tmp_path: Path) -> None:
    """In the type of the setting, so that what is rendered for the edge has one form."""
    settings = configured(tmp_path, "half_life_hours = 24\n", {"NIGHTFEED_STALE_HOURS": "48"})
    assert (repr(settings.half_life_hours), repr(settings.stale_hours)) == ("24.0", "48.0")


@pytest.mark.parametrize(("text", "said"), [
    ("new_share_min = 0.6\n", "new_share_min is greater than new_share_max"),
    ("cookie_secure = false\n", "cookie_name starts with __Host-"),
    ('cookie_secure = false\ncookie_name = "nf"\ncookie_same_site = "None"\n', "cookie_same_site is None"),
])
def test_settings_that_contradict_each_other_are_refused(tmp_path: Path, text: str, said: str) -> None:
    """Each may be right alone."""
    assert said in refused(tmp_path, text)


def test_the_rate_limit_can_be_switched_off(tmp_path: Path) -> None:
    """As the benchmarks do."""
    assert configured(tmp_path, environ={"NIGHTFEED_RATE_LIMIT": "off"}).rate_limit == "off"


def test_the_run_directory_is_named_or_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Always absolute."""
    monkeypatch.chdir(tmp_path)
    assert config.run_directory({}) == config.run_directory({"NIGHTFEED_RUN": ""}) == tmp_path / "run"
    assert config.run_directory({"NIGHTFEED_RUN": "other"}) == tmp_path / "other"
    assert config.run_directory({"NIGHTFEED_RUN": "/x"}) == Path("/x")
