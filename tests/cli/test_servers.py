"""Progress of servers on stderr: one line that is written over on a terminal, else a line now and then."""

from __future__ import annotations

import sys

import pytest

from ppdsim.cli import servers
from ppdsim.cli.servers import url_of
from ppdsim.engines.launch.stack import Progress
from ppdsim.errors import InputError


def waiting(after_s: float, line: str = "loading weights:  50%") -> Progress:
    return Progress(name="prefill-0", phase="waiting", after_s=after_s, line=line)


def test_elsewhere_than_on_a_terminal_a_wait_is_a_line_now_and_then(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [100.0]
    monkeypatch.setattr(servers.time, "monotonic", lambda: now_s[0])
    print_progress = servers.progress_printer(quiet=False)
    print_progress(Progress(name="prefill-0", phase="starting"))
    for now_s[0] in (100.1, 105.0, 110.2, 111.0):
        print_progress(waiting(now_s[0] - 100.0, f"at {now_s[0]}"))
    print_progress(Progress(name="prefill-0", phase="ready", after_s=12.0))
    assert capsys.readouterr().err.splitlines() == [
        "prefill-0: starting",
        "prefill-0: waiting, 10 s: at 110.2",
        "prefill-0: ready after 12.0 s",
    ]


def test_on_a_terminal_the_last_line_of_the_log_is_written_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    print_progress = servers.progress_printer(quiet=False)
    print_progress(waiting(3.0))
    print_progress(waiting(4.0, "x" * 500))
    first, second = capsys.readouterr().err.split("\r\x1b[K")[1:]
    assert first == "prefill-0: waiting, 3 s: loading weights:  50%"
    assert second.startswith("prefill-0: waiting, 4 s: xxx")
    assert len(second) < 120
    print_progress(Progress(name="prefill-0", phase="stopped"))
    assert capsys.readouterr().err == "\r\x1b[Kprefill-0: stopped\n"


def test_quiet_is_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    servers.progress_printer(quiet=True)(waiting(3.0))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("localhost:30000", "--unified-url localhost:30000: expected an address such as http://127.0.0.1:30000"),
        ("ftp://localhost", "--unified-url ftp://localhost: expected an address"),
        ("http://", "--unified-url http://: expected an address"),
        ("http://host:port", "--unified-url http://host:port: Port could not be cast"),
        ("http://host:0", "--unified-url http://host:0: expected an address"),
        ("http://me:secret@host:1", "--unified-url http://host:1: given with a name or password before it; give a key"),
        ("http://host:1/?token=secret", "--unified-url http://host:1: given with more behind it"),
        ("http://host:1#secret", "--unified-url http://host:1: given with more behind it"),
        ("", "--unified-url : expected an address"),
    ],
)
def test_what_is_no_address_of_a_server_is_named_without_what_is_secret_in_it(text, said):
    with pytest.raises(InputError) as caught:
        url_of("--unified-url", text)
    assert str(caught.value).startswith(said)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["http://127.0.0.1:30000", "https://host/base/", "http://[::1]:30000/"])
def test_an_address_of_a_server_is_taken_without_its_last_slash(text):
    assert url_of("--unified-url", text) == text.rstrip("/")
