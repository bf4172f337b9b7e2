"""Secrets in commands, environments and logs: shown as ``***`` wherever this package prints or writes them.

A value is masked where its name says that it is a secret (``--api-key``, ``HF_TOKEN``), and where it can carry one
under any name: JSON and other structures keep their keys and numbers and lose their texts, URLs lose user, password and
query. A log's lines lose what stands behind such a name.

Not modelled: a secret that is passed as the plain value of a flag with a harmless name. What a started server itself
writes into its log is the engine's; the log can be read by its owner only.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MASK = "***"
SECRET_WORDS = frozenset(
    (
        *("key", "keys", "apikey", "token", "secret", "secrets", "password", "passwd", "passphrase", "pwd", "pass"),
        *("credential", "credentials", "auth", "authorization", "bearer", "header", "headers", "cookie", "cookies"),
    )
)
"""Words of a name, parted by ``-``, ``_``, ``.`` or a capital, that say what its value is."""
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+")
_USER = re.compile(r"(\w+://)[^\s/@]*@")
_QUERY = re.compile(r"(\w+://[^\s?]*)\?\S+")
_KNOWN = re.compile(r"\b(?:sk|hf|ghp|gho|github_pat|glpat|xox[abp]|nvapi|AKIA)[-_]?[A-Za-z0-9_-]{12,}|\bBearer\s+\S+")
_IN_TEXT = re.compile(
    r"(?P<name>\b[\w-]*(?:api_?key|secret|passw(?:or)?d|credential|token|authorization)\b['\"]?\s*[=:]\s*)"
    r"(?P<value>'[^']*'|\"[^\"]*\"|[^\s,;'\")\]}]+)",
    re.IGNORECASE,
)


def is_secret(name: str) -> bool:
    """Return whether a flag, a variable or a key says by its name that its value is a secret.

    >>> [name for name in ("--api-key", "HF_TOKEN", "secretKey", "--max-total-tokens", "tokenizer") if is_secret(name)]
    ['--api-key', 'HF_TOKEN', 'secretKey']
    """
    return any(word.lower() in SECRET_WORDS for word in _WORD.findall(name))


def masked_value(name: str, value: str) -> str:
    """Return a value as it may be shown.

    >>> masked_value("--kv-events-config", '{"topic": "t", "buffer_steps": 8}')
    '{"topic": "***", "buffer_steps": 8}'
    >>> masked_value("--s3", "s3://user:word@host/bucket?sig=1"), masked_value("--port", "30000")
    ('s3://***@host/bucket', '30000')
    """
    if is_secret(name):
        return MASK
    if value.lstrip().startswith(("{", "[")):
        try:
            return json.dumps(_without_texts(json.loads(value)))
        except (ValueError, RecursionError):
            return MASK
    return _KNOWN.sub(MASK, _QUERY.sub(r"\1", _USER.sub(rf"\1{MASK}@", value)))


def masked_words(words: Sequence[str]) -> tuple[str, ...]:
    """Return a command as it may be shown: after a flag with a secret's name, every word up to the next flag is one.

    >>> masked_words(["serve", "--api-key", "abc", "--tp", "2", "--token=x"])
    ('serve', '--api-key', '***', '--tp', '2', '--token=***')
    """
    shown: list[str] = []
    flag = ""
    for word in words:
        name, equals, value = word.partition("=")
        if name.startswith("-") and not _is_number(name):
            flag = "" if equals else name
            shown.append(f"{name}={masked_value(name, value)}" if equals else name)
        else:
            shown.append(masked_value(flag, word))
    return tuple(shown)


def masked_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return variables as they may be shown."""
    return {name: masked_value(name, value) for name, value in environment.items()}


def masked_line(line: str) -> str:
    """Return a line of a log as it may be shown.

    >>> masked_line("ServerArgs(model_path='/m', api_key='abc', max_total_tokens=4096)")
    "ServerArgs(model_path='/m', api_key=***, max_total_tokens=4096)"
    """
    return _IN_TEXT.sub(_hidden, _KNOWN.sub(MASK, line))


def _hidden(found: re.Match[str]) -> str:
    # An engine prints what was not given as None.
    return found[0] if found["value"] in ("None", "null", "''", '""') else found["name"] + MASK


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): MASK if is_secret(str(key)) else _without_texts(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_texts(inner) for inner in value]
    return MASK if isinstance(value, str) else value


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-\d+(\.\d+)?", word) is not None
