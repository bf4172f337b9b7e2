"""Secrets are shown nowhere: not in commands, environments, dry runs, state files, and not in a log's lines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from engines.sglang.launcher.standins import unified

from ppdsim.cli.app import run
from ppdsim.engines.launch.stack import Stack
from ppdsim.engines.logs import tail
from ppdsim.machine.masking import is_secret, masked_environment, masked_line, masked_words

SECRET = "-".join(("hunter2", "of-a-test"))
FLAGS = (
    f"--api-key {SECRET}",
    f"--admin-api-key={SECRET}",
    f"--hf-token {SECRET}",
    f"--control-plane-api-keys {SECRET} {SECRET}2",
    f"--custom-headers X-Auth:{SECRET}",
    f'--model-loader-extra-config {{"s3_secret":"{SECRET}","threads":4}}',
    f'--kv-events-config {{"endpoint":"tcp://u:{SECRET}@h:1"}}',
    f"--kv-events-config {{broken:{SECRET}",
    f"--redis-url redis://user:{SECRET}@host:6379/0",
    f"--image https://host/x?sig={SECRET}",
    "--note sk-hunter2ofatest0000000000",
    "--note hf_hunter2ofatest00000000000",
)


@pytest.mark.parametrize("flag", FLAGS)
def test_a_flag_s_secret_is_masked(flag: str) -> None:
    shown = " ".join(masked_words(["serve", *flag.split(" "), "--tp", "2"]))
    assert "hunter2" not in shown
    assert "***" in shown or "?" not in shown
    assert shown.endswith("--tp 2")
    assert flag.split()[0].split("=")[0] in shown


def test_what_is_none_is_shown() -> None:
    plain = ["--max-total-tokens", "65536", "--tokenizer-path", "/models/x", "--port", "-1", "--chunk=8192", "a.py"]
    assert masked_words(plain) == tuple(plain)
    environment = {"MC_FORCE_TCP": "1", "CUDA_VISIBLE_DEVICES": "0,1", "NO_PROXY": "127.0.0.1"}
    assert masked_environment(environment) == environment
    assert not any(map(is_secret, (*environment, "--skip-tokenizer-init", "--num-reserved-decode-tokens")))


@pytest.mark.parametrize(
    "line",
    [
        f"ServerArgs(model_path='/m', api_key='{SECRET}', max_total_tokens=4096)",
        f'{{"model": "m", "admin_api_key": "{SECRET}"}}',
        f"HF_TOKEN={SECRET} python -m x",
        "Authorization: Bearer hunter2-of-a-test",
    ],
)
def test_a_log_s_line_is_masked(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.log").write_text(f"{line}\n")
    (shown,) = tail(tmp_path / "x.log")
    assert "hunter2" not in shown
    plain = "ServerArgs(api_key=None, max_total_tokens=4096, tokenizer_path='/m')"
    assert masked_line(plain) == plain


@pytest.mark.parametrize("text", [f"environment.HF_TOKEN=[{SECRET}", f"environment.api_key={{a: {SECRET}}}"])
def test_an_error_about_a_setting_shows_none(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["serve", "--model", "M", "--unified-gpu", "0", "--set", text, "--dry-run"]) == 2
    errors = capsys.readouterr().err
    assert SECRET not in errors
    assert "environment." in errors


@pytest.mark.parametrize("json_too", [True, False])
def test_a_dry_run_prints_none(json_too: bool, capsys: pytest.CaptureFixture[str]) -> None:
    secret = ("--set", f"environment.HF_TOKEN={SECRET}")
    command = ["serve", "--model", "M", "--unified-gpu", "0", *secret, "--dry-run", *["--json"] * json_too]
    assert run([*command, "--", "--api-key", SECRET]) == 0
    output = capsys.readouterr()
    assert SECRET not in output.out + output.err
    if json_too:
        (server,) = json.loads(output.out)["servers"]
        assert "***" in server["environment"].values()
        assert server["command"][-2:] == ["--api-key", "***"]
    else:
        assert output.out.startswith("# *** is a secret: put it in\n")


def test_the_state_file_has_none_and_the_log_is_its_owner_s(tmp_path: Path) -> None:
    specs = unified(tmp_path / "model", environment={"HF_TOKEN": SECRET}, unified_flags=("--api-key", SECRET))
    with Stack(specs, log_dir=tmp_path / "logs", start_timeout_s=20.0, stop_timeout_s=0.5):
        files = {path.name: path.read_text() for path in (tmp_path / "logs").iterdir()}
        assert set(files) == {"servers.json", "unified-0.log"}
        assert SECRET not in "".join(files.values())
        assert (tmp_path / "logs" / "unified-0.log").stat().st_mode & 0o777 == 0o600
