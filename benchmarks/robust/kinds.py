"""The kinds of file that commands read: a valid one of each, what else it needs, and the command that reads it.

`number` leads to a value for which a text, nothing, NaN, -1, 1e308 and 10^400 are all wrong, `required` to a key
without which the file is wrong, `text` to a text that may say anything. What is accepted of a `slow` kind is not run.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.formats import CAPACITY
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
MEASURED = ROOT / "calibration/measurements/h200x2_llama-3.1-8b_sglang-0.5.17"
SAMPLES = ROOT / "tests/engines/sglang/records/samples"
Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of file: `form` is json, yaml, jsonl or text, `others` are files beside it, `after` ends its writing."""

    name: str
    file: str
    valid: bytes
    command: tuple[str, ...]
    form: str = "text"
    number: Place | None = None
    required: Place | None = None
    text: Place | None = None
    others: Mapping[str, bytes] = field(default_factory=dict)
    after: Callable[[Path], None] | None = None
    may_end_anywhere: str = ""
    left_out: str = ""
    slow: bool = False

    def document(self) -> Any:
        """Return the valid file as a document."""
        if self.form == "jsonl":
            return [json.loads(line) for line in self.valid.splitlines()]
        if self.form == "yaml":
            return YAML(typ="safe", pure=True).load(self.valid.decode())
        return json.loads(self.valid)

    def write(self, document: Any) -> bytes:
        """Return the file of a document; JSON is YAML."""
        if self.form == "jsonl":
            return "\n".join(json.dumps(row) for row in document).encode("utf-8", "surrogatepass")
        return json.dumps(document).encode("utf-8", "surrogatepass")


def _lines(*rows: Mapping[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def _scenario(name: str, *changes: tuple[str, str]) -> bytes:
    text = (ROOT / f"scenarios/{name}.yaml").read_text()
    for old, new in changes:
        assert old in text, (name, old)
        text = text.replace(old, new)
    return text.encode()


def _rehash(path: Path) -> None:
    """Put the hash of the points beside it right, so that what is read is the rows."""
    if path.is_file() and not path.is_symlink() and path.stat().st_size < 2**26:
        manifest = json.loads((path.parent / "manifest.json").read_text())
        manifest["points_file"], manifest["points_sha256"] = path.name, hashlib.sha256(path.read_bytes()).hexdigest()
        (path.parent / "manifest.json").write_text(json.dumps(manifest))


SMALL = _scenario("one-pair", ("conversations: 200", "conversations: 5"))
POINTS = b"kind,arm,transport,cached_tokens,new_tokens,batch,context_tokens\nprefill,append-d,none,4096,256,0,0\n"
CONFIG = (
    b'{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,'
    b' "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,'
    b' "dtype": "bfloat16", "max_position_embeddings": 131072, "_name_or_path": "meta-llama/Llama-3.1-8B"}'
)
MANIFEST = (MEASURED / "manifest.json").read_bytes()
ROWS = gzip.decompress((MEASURED / "points.jsonl.gz").read_bytes())
TRACE = ("simulate", "base.yaml", "--trace", "{file}", "-o", "{out}")
DERIVE = ("derive", PROFILE, "--model", "{file}", "-o", "{out}/d.json")
BURST = (
    {"conversation_id": n, "turn": 0, "arrival_s": 0.1 * n, "new_tokens": 64, "output_tokens": 4} for n in range(3)
)
MOONCAKE = ({"timestamp": 100 * n, "input_length": 600, "output_length": 5, "hash_ids": [0, n + 1]} for n in range(3))
AZURE = b"TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.99,396,10\n"
SESSION = gzip.decompress((ROOT / "scenarios/data/claude-code-60.jsonl.gz").read_bytes()).splitlines(keepends=True)[0]

KINDS = (
    Kind(
        name="scenario",
        file="it.yaml",
        valid=SMALL,
        form="yaml",
        command=("simulate", "{file}", "-o", "{out}"),
        number=("workload", "conversations"),
        required=("routing",),
        text=("question",),
    ),
    Kind(
        name="crossover scenario",
        file="it.yaml",
        valid=_scenario("cache-rate"),
        form="yaml",
        slow=True,
        command=("crossover", "{file}", "-o", "{out}"),
        number=("crossover", "residents"),
        required=("profile",),
    ),
    Kind(
        name="profile",
        file="it.json",
        valid=(ROOT / f"calibration/profiles/{PROFILE}.json").read_bytes(),
        form="json",
        command=("predict", "{file}", "--points", "points.csv", "-o", "{out}/p.csv"),
        others={"points.csv": POINTS},
        number=("chunked_prefill_size",),
        required=("curves",),
        text=("machine",),
    ),
    Kind(
        name="profile shown",
        file="it.json",
        valid=(ROOT / f"calibration/profiles/{PROFILE}.json").read_bytes(),
        form="json",
        command=("show", "{file}"),
        number=("page_size_tokens",),
        required=("model",),
        text=("id",),
    ),
    Kind(name="points csv", file="it.csv", valid=POINTS, command=("predict", "h200", "--points", "{file}")),
    Kind(
        name="points jsonl",
        file="it.jsonl",
        form="jsonl",
        command=("predict", "h200", "--points", "{file}"),
        valid=_lines({"kind": "prefill", "cached_tokens": 4096, "new_tokens": 256, "note": "x"}),
        number=(0, "new_tokens"),
        required=(0, "cached_tokens"),
        text=(0, "note"),
    ),
    Kind(
        name="conversations",
        file="it.jsonl",
        form="jsonl",
        command=TRACE,
        others={"base.yaml": SMALL},
        valid=_lines(*BURST),
        number=(1, "new_tokens"),
        required=(1, "output_tokens"),
    ),
    Kind(
        name="mooncake",
        file="it.jsonl",
        form="jsonl",
        command=TRACE,
        others={"base.yaml": SMALL},
        valid=_lines(*MOONCAKE),
        number=(1, "output_length"),
        required=(1, "output_length"),
    ),
    Kind(name="azure", file="it.csv", command=TRACE, others={"base.yaml": SMALL}, valid=AZURE),
    Kind(
        name="agent sessions",
        file="it.jsonl",
        form="jsonl",
        command=TRACE,
        others={"base.yaml": SMALL},
        valid=SESSION,
        required=(0, "requests"),
    ),
    Kind(
        name="manifest",
        slow=True,
        file="m/manifest.json",
        valid=MANIFEST,
        form="json",
        others={"m/points.jsonl.gz": (MEASURED / "points.jsonl.gz").read_bytes()},
        command=("fit", "m", "-o", "{out}/p.json"),
        number=("page_size_tokens",),
        required=("engine",),
    ),
    Kind(
        name="measurements",
        file="m/points.jsonl",
        form="jsonl",
        valid=b"\n".join(ROWS.splitlines()[:40]),
        others={"m/manifest.json": MANIFEST},
        after=_rehash,
        command=("validate", PROFILE, "m", "-o", "{out}"),
        number=(0, "ttft_s"),
        left_out="a row that cannot be true is left out, and counted",
        required=(0, "kind"),
    ),
    Kind(
        name="probes",
        file="it.jsonl",
        form="jsonl",
        command=("fit", "profile.json", "--anchor", "{file}", "-o", "{out}/p.json"),
        valid=_lines(
            {"cached_tokens": 4096, "new_tokens": 64, "ttft_s": 0.014},
            {"cached_tokens": 0, "new_tokens": 128, "ttft_s": 0.015},
            {"cached_tokens": 0, "new_tokens": 256, "ttft_s": 0.016},
        ),
        others={"profile.json": (ROOT / f"calibration/profiles/{PROFILE}.json").read_bytes()},
        number=(0, "ttft_s"),
        required=(0, "new_tokens"),
    ),
    Kind(
        name="plan",
        file="it.yaml",
        form="yaml",
        valid=(ROOT / "calibration/plans/quick.yaml").read_bytes(),
        others={"model/config.json": CONFIG},
        number=("repeats", "least"),
        required=("name",),
        command=(
            "calibrate",
            "--model",
            "model",
            "--plan",
            "{file}",
            "--unified-url",
            "http://127.0.0.1:9",
            "-o",
            "{out}",
            "--dry-run",
        ),
    ),
    Kind(
        name="server settings",
        file="it.yaml",
        form="yaml",
        valid=b"model: /models/x\nunified_gpus: [0]\ntp: 1\nstart_timeout_s: 60\n",
        command=("serve", "--settings", "{file}", "--dry-run"),
        number=("start_timeout_s",),
        required=("model",),
        text=("model",),
    ),
    Kind(
        name="model config",
        file="it.json",
        valid=CONFIG,
        form="json",
        command=DERIVE,
        number=("hidden_size",),
        required=("num_hidden_layers",),
        text=("_name_or_path",),
    ),
    Kind(
        name="capacity",
        file="c/capacity.json",
        valid=CAPACITY,
        form="json",
        command=("report", "c", "-o", "{out}/r.html"),
        number=("rate_per_s",),
        required=("seeds",),
    ),
    Kind(
        name="bench_serving record",
        file="it.jsonl",
        form="jsonl",
        valid=(SAMPLES / "bench_serving.jsonl").read_bytes().splitlines(keepends=True)[0],
        command=("import", "{file}", "--manifest", "m.json", "--arm", "p-full", "--transport", "tcp", "-o", "{out}"),
        others={"m.json": MANIFEST},
        required=(0, "ttfts"),
    ),
    Kind(
        name="server log",
        file="it.log",
        valid=(SAMPLES / "unified.log").read_bytes(),
        command=("import", "{file}", "--manifest", "m.json", "-o", "{out}"),
        others={"m.json": MANIFEST},
        may_end_anywhere="a log has whatever lines, and is cut off where its server was ended",
    ),
)
"""Every kind of file."""
