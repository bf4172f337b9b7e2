"""Every file format that ppdsim reads but traces (tests/workload/test_fuzz.py): a valid one, and what reads it."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.sglang.records.recorded import SAMPLES
from fit.grids import MANIFEST
from ruamel.yaml import YAML

from ppdsim import capacity, compose, library, measurements, points, profile, scenario
from ppdsim.derive import errors
from ppdsim.engines.importing import import_records, read_manifest_template
from ppdsim.engines.launch.settings_file import load_settings
from ppdsim.engines.records.deployment import Deployment
from ppdsim.engines.sglang.launcher import settings
from ppdsim.fit import anchor
from ppdsim.machine.hardware import links, read_gpus, read_links
from ppdsim.machine.model_config import read_config
from ppdsim.measure.journal import read_rows
from ppdsim.measure.plan import load_plan
from ppdsim.measurements.manifest import check_manifest
from ppdsim.report.capacity_page import render_capacity
from ppdsim.types import Arm, Transport

PROFILE = "h200x2_llama-3.1-8b_sglang-0.5.17"
ROOT = Path(__file__).parents[2]
GRID = {
    "kind": "prefill", "arm": "U", "tag": "A", "L": 0, "m": 64, "rep": 0, "ok": True, "ttft": 0.013, "cached": 0,
    "itl": 0.0045, "t": 2.2,
    "srv": {
        "num_retractions": 0,
        "forward_entry_time": 1000.0008, "prefill_finished_time": 1000.0104, "queue_time": 0.0002,
        "completion_tokens": 4, "e2e_latency": 0.0248, "request_received_ts": 1000.0,
        "api_server_dispatch_finish_ts": 1000.0002, "response_sent_to_client_ts": 1000.0113,
        "request_finished_ts": 1000.0248, "decode_throughput": 219.96,
    },
}  # fmt: skip
"""A row of the first recorded grid."""
CAPACITY = b"""{
 "schema": "ppdsim/capacity/1", "answer": ["Up to 1.5 conversations/s keep it."], "kind": "rate",
 "limits": {"ttft_s": 0.5, "tpot_s": null, "itl_max_s": null}, "attained_wanted": 0.9, "rate_per_s": 1.5,
 "rate_per_gpu_per_s": 0.75, "interval_per_s": {"low": 1.5, "high": 1.6, "over": "bracket", "coverage": null},
 "turns_per_s": 6.0,
 "goodput_per_s": 5.5, "goodput_per_gpu_per_s": 2.75, "gpus": 2, "tolerance": 0.02, "notes": [], "provenance": {"a": 1},
 "binds": {"limit": "ttft_s", "share": 0.1, "place": "KV transfer", "node": 0, "role": "P", "seconds": 0.4},
 "seeds": [{"seed": 0, "kind": "rate", "low_per_s": 1.5, "high_per_s": 1.6, "runs": [
  {"rate_per_s": 1.5, "label": "STABLE", "turns": 100, "counted": 66, "window_s": 60.0, "life_s": null,
   "turns_per_s": 6.0, "goodput_per_s": 5.5, "attained": 0.92, "binding": null, "kept": true}]}]
}"""
"""What `ppdsim capacity` writes, with one run."""
MEASURED = ROOT / "calibration" / "measurements" / PROFILE


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A format: `suffix` of its files, a valid file, and its reader; `lines` says that each line is a document."""

    suffix: str
    valid: bytes
    read: Callable[[Path], Any]
    lines: bool = False

    def document(self) -> Any:
        """Return the valid file as a JSON document."""
        if self.lines:
            return [json.loads(line) for line in self.valid.splitlines()]
        if self.suffix == ".json":
            return json.loads(self.valid)
        return json.loads(json.dumps(YAML(typ="safe", pure=True).load(self.valid.decode())))

    def text(self, document: Any) -> bytes:
        """Return the file of a document (JSON is YAML)."""
        if self.lines and isinstance(document, list):
            return "\n".join(json.dumps(row) for row in document).encode("utf-8", "surrogatepass")
        return json.dumps(document).encode("utf-8", "surrogatepass")


def _rows() -> bytes:
    """Return one row of every kind and arm of the shipped measurements."""
    kinds: dict[tuple[str, str], bytes] = {}
    for line in gzip.decompress((MEASURED / "points.jsonl.gz").read_bytes()).splitlines():
        row = json.loads(line)
        kinds.setdefault((row["kind"], row.get("arm", "")), line)
    return b"\n".join(kinds.values()) + b"\n"


def _csv() -> bytes:
    """Return the first of these rows as CSV; an empty field is an absent one."""
    row = json.loads(_rows().splitlines()[0])
    values = ("" if value is None else str(value) for value in row.values())
    return f"{','.join(row)}\n{','.join(values)}\n".encode()


def _read_folder(path: Path) -> Any:
    """Read `path` as the points of the shipped manifest, with its hash put right."""
    manifest = json.loads((MEASURED / "manifest.json").read_text())
    manifest["points_file"] = path.name
    manifest["points_sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent / "manifest.json").write_text(json.dumps(manifest))
    return measurements.read(path.parent)


def _read_manifest(path: Path) -> Any:
    return check_manifest(read_manifest_template(path), where=str(path))


def _read_profile(path: Path) -> Any:
    found = profile.load(path)
    return compose.central(found), profile.to_json(found)


def _read_points(path: Path) -> object:
    return list(points.read_points(path))


def _read_journal(path: Path) -> Any:
    path.rename(path.with_name("points.jsonl"))
    return read_rows(path.parent)


def _record(name: str, *others: str, arm: Arm | None = None) -> Format:
    """Return the format of a recorded sample, which is imported together with `others`."""

    def read(path: Path) -> Any:
        said = Deployment(arm=arm, transport=Transport.TCP if arm else None)
        return import_records([path, *(SAMPLES / other for other in others)], MANIFEST, path.parent / "m", said=said)

    content = (SAMPLES / name).read_bytes()
    if name.endswith("jsonl"):
        content = content.splitlines(keepends=True)[0]  # each line is a run of its own deployment
    return Format(suffix=Path(name).suffix, valid=content, read=read, lines=name.endswith("jsonl"))


FORMATS = {
    "scenario": Format(suffix=".yaml", valid=library.find("scenario", "one-pair").read_bytes(), read=scenario.load),
    "crossover scenario": Format(
        suffix=".yaml", valid=library.find("scenario", "cache-rate").read_bytes(), read=scenario.load
    ),
    "profile": Format(suffix=".json", valid=library.find("profile", PROFILE).read_bytes(), read=_read_profile),
    "plan": Format(
        suffix=".yaml", valid=library.find("plan", "quick").read_bytes(), read=lambda path: load_plan(str(path))
    ),
    "measurements": Format(suffix=".jsonl", valid=_rows(), read=_read_folder, lines=True),
    "journal": Format(suffix=".tmp", valid=_rows(), read=_read_journal, lines=True),
    "manifest": Format(suffix=".json", valid=(MEASURED / "manifest.json").read_bytes(), read=_read_manifest),
    "points": Format(
        suffix=".jsonl",
        valid=b'{"kind": "stall", "cached_tokens": 4096, "new_tokens": 256, "batch": 4, "context_tokens": 9000}\n'
        b'{"kind": "prefill", "arm": "p-full", "transport": "tcp", "cached_tokens": 0, "new_tokens": 64}\n',
        read=_read_points,
        lines=True,
    ),
    "points gz": Format(
        suffix=".csv.gz",
        valid=gzip.compress(b"kind,cached_tokens,new_tokens\nprefill,4096,256\n", mtime=0),
        read=_read_points,
    ),
    "measurements gz": Format(suffix=".jsonl.gz", valid=gzip.compress(_rows(), mtime=0), read=_read_folder),
    "measurements csv": Format(
        suffix=".csv",
        valid=_csv(),
        read=_read_folder,
    ),
    "points csv": Format(
        suffix=".csv",
        valid=b"kind,arm,transport,cached_tokens,new_tokens,batch,context_tokens\nprefill,append-d,none,4096,256,0,0\n",
        read=_read_points,
    ),
    "probes": Format(
        suffix=".jsonl",
        valid=b'{"cached_tokens": 4096, "new_tokens": 64, "ttft_s": 0.014}\n'
        b'{"cached_tokens": 0, "new_tokens": 128, "ttft_s": 0.015}\n',
        read=anchor.read_probes,
        lines=True,
    ),
    "server settings": Format(
        suffix=".yaml",
        valid=b"model: /models/x\nunified_gpus: [0]\ntp: 1\nports: {prefill: 31100}\nengine_flags: [--log-level]\n"
        b"environment: {A: b}\nstart_timeout_s: 60\n",
        read=lambda path: load_settings(settings.Settings, path, {}),
    ),
    "hardware": Format(
        suffix=".yaml",
        valid=library.shipped("hardware.yaml").read_bytes(),
        read=lambda path: read_gpus(path, links()),
    ),
    "links": Format(suffix=".yaml", valid=library.shipped("links.yaml").read_bytes(), read=read_links),
    "transfer errors": Format(suffix=".json", valid=library.shipped("transfer.json").read_bytes(), read=errors.read),
    "capacity": Format(suffix=".json", valid=CAPACITY, read=lambda path: render_capacity(capacity.read(path))),
    "bench_serving record": _record("bench_serving.jsonl", arm=Arm.P_FULL),
    "grid record": Format(
        suffix=".jsonl",
        valid=json.dumps(GRID).encode() + b"\n",
        read=lambda path: import_records([path], MANIFEST, path.parent / "m", said=Deployment()),
        lines=True,
    ),
    "time stats record": _record("unified.log"),
    "time stats of D": _record("decode.log", "prefill.log", arm=Arm.P_FULL),
    "metrics record": _record("export_unified.log"),
    "metrics record of D": _record("export_decode.log", arm=Arm.P_FULL),
    "model config": Format(
        suffix=".json",
        valid=b'{"architectures": ["LlamaForCausalLM"], "hidden_size": 4096, "num_hidden_layers": 32,'
        b' "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,'
        b' "dtype": "bfloat16", "quantization_config": {"quant_method": "fp8"}}',
        read=lambda path: read_config(path, dummy_weights=True),
    ),
}
