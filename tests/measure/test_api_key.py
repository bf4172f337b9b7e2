"""A key that servers want is sent with every request, and stands in no file and no line."""

from __future__ import annotations

import json

import pytest
from measure.fault_server import INFO, Fault, FaultyServer, command, http, sends

from ppdsim.cli.app import run
from ppdsim.engines.client import Endpoints

KEY = "sk-live-9f27c1"
HIDDEN = {
    "custom_headers": {"Authorization": "private-1"},
    "model_loader_extra_config": '{"token": "private-2"}',
    "kv_events_config": '{"endpoint": "tcp://private-3:5557"}',
    "s3_secret": "private-4",
    "download_dir": "/home/private-5",
    "otlp_traces_endpoint": "private-6:4317",
    "host": "private-7",
}


@pytest.fixture(autouse=True)
def _key(require, monkeypatch):
    require("python:aiohttp")
    monkeypatch.setenv("SGLANG_API_KEY", KEY)


def written(folder):
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_the_key_is_sent_with_every_request_and_written_nowhere(tmp_path, capsys):
    # A server that repeats its own key among its arguments.
    told = {**INFO, **HIDDEN, "api_key": KEY, "version": KEY, "attention_backend": KEY, "model_path": f"/models/{KEY}"}
    with FaultyServer(None, key=KEY, info=told) as server:
        assert run([*command(server.url, tmp_path), "--api-key-env", "SGLANG_API_KEY"]) == 3
        assert "version = '[key]'" in capsys.readouterr().err
    with FaultyServer(None, key=KEY, info={**told, "version": "0.5.17"}) as server:
        assert run([*command(server.url, tmp_path), "--api-key-env", "SGLANG_API_KEY"]) == 0
    assert len(server.seen) > 5
    assert all(f"Authorization: Bearer {KEY}\r\n" in head for head in server.seen)
    files = written(tmp_path)
    assert files.keys() >= {"points.jsonl", "manifest.json", "run.json"}
    assert not [name for name, text in files.items() if KEY in text or "private-" in text]
    # A manifest is handed on: it does not say where its servers were. The names of what was left out stand in run.json.
    assert "127.0.0.1" not in files["manifest.json"]
    left_out = json.loads(files["run.json"])["servers"]["unified"]["unified"]["left_out"]
    assert set(left_out) == {*HIDDEN, "api_key", "attention_backend"}


def test_without_the_key_the_option_is_named(tmp_path, capsys):
    with FaultyServer(None, key=KEY) as server:
        assert run(command(server.url, tmp_path)) == 3
    assert "status 401: wrong key:; it wants a key: --api-key-env" in capsys.readouterr().err


@pytest.mark.parametrize("path", ["/server_info", "/generate", "/flush_cache"])
def test_a_server_that_repeats_the_key_in_its_refusal_is_not_quoted_with_it(path, tmp_path, capsys):
    echo = Fault(
        name="echo",
        path=path,
        answer=sends(http(f"no such key: {'x' * 190} {KEY}".encode(), status="403 Forbidden")),
        said="",
    )
    with FaultyServer(echo, key=KEY) as server:
        assert run([*command(server.url, tmp_path), "--api-key-env", "SGLANG_API_KEY"]) == 3
    told = capsys.readouterr().err
    assert "status 403: no such key" in told
    for text in (told, *written(tmp_path).values()):
        # Nor a part of it, where the text was cut.
        assert KEY[:4] not in text


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "has no such variable"),
        ("  ", "has no such variable"),
        ("a\nb", "no HTTP header"),
        ("ä", "no HTTP header"),
    ],
)
def test_a_variable_without_a_key_is_bad_input(value, words, tmp_path, capsys, monkeypatch):
    if value is None:
        monkeypatch.delenv("SGLANG_API_KEY")
    else:
        monkeypatch.setenv("SGLANG_API_KEY", value)
    assert run([*command("http://127.0.0.1:1", tmp_path), "--api-key-env", "SGLANG_API_KEY"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "--api-key-env SGLANG_API_KEY: " in line
    assert words in line
    assert not (tmp_path / "out").exists()


def test_endpoints_do_not_show_their_key():
    assert KEY not in repr(Endpoints(entry="http://x", servers=(), key=KEY))
