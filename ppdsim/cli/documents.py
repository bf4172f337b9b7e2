"""What ``--json`` prints, a dataclass a document, and the JSON Schema of each: ``ppdsim schema NAME``.

Keys stay and keys may come: a schema names what a reader may rely on, and forbids nothing beside it. A number that is
not finite is null (in crossover's answer an infinite one is ``"inf"``). With ``--json`` an error is a document too; the
line on stderr and the exit code are those without it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any

from ppdsim.answers import ProfileCard
from ppdsim.measurements import Refused


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """Which kind of error (its class in ppdsim.errors), its line, and the exit code of the command."""

    kind: str
    message: str
    exit_code: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDocument:
    """What a command prints that has no answer."""

    error: ErrorDetails
    schema: str = "ppdsim/error/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """Mean, percentiles and maximum of a quantity; null where nothing ended."""

    mean: float | None
    p50: float | None
    p90: float | None
    p99: float | None
    max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Ended turns and their output tokens a second."""

    turns_per_s: float | None
    output_tokens_per_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Goodput:
    """Turns that keep every limit: a second, and as a share of those offered."""

    limits: Mapping[str, float | None]
    turns_per_s: float | None
    attainment: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One run of ``simulate``: summary.json."""

    schema: str
    turns: int
    status: Mapping[str, int]
    label: str
    ttft_s: Spread
    tpot_s: Spread
    itl_s: Spread
    e2e_s: Spread
    kv_transfer_s: Spread
    kv_transfer_exposed_s: Spread
    queue_s: Spread
    resident_stall_s: Mapping[str, float]
    span_s: float
    throughput: Throughput
    goodput: Goodput
    arms: Mapping[str, float]
    regret: Mapping[str, Any] | None
    extrapolated: float | None
    notes: Sequence[str]
    unread_keys: Sequence[str]
    busy: Mapping[str, Any]
    kv_pool: Mapping[str, Any]
    prefix_cache: Mapping[str, Any]
    decode_streams: Spread
    nodes: Sequence[Mapping[str, Any]]
    links: Sequence[Mapping[str, Any]]
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRow:
    """One policy of a comparison."""

    policy: str
    label: str
    j_s: float | None
    regret_s: float | None
    regret_at_decision_s: float | None
    ttft_mean_s: float | None
    ttft_p99_s: float | None
    itl_p99_s: float | None
    attainment: float | None
    appended: float
    busy_prefill: float | None
    busy_decode: float | None
    busy_link: float | None
    hit_rate_prefill: float | None
    hit_rate_decode: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policies:
    """Several policies of ``simulate``: policies.json."""

    schema: str
    scenario: str
    seed: int
    policies: Sequence[PolicyRow]
    notes: Sequence[str]
    unread_keys: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioRow:
    """An installed scenario."""

    name: str
    question: str
    run_time: str
    profile: str
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Error of left-out cells, as shares."""

    median: float
    p90: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileRow:
    """An installed profile, and what to take it for."""

    short_name: str | None
    advice: str | None
    id: str
    machine: str
    model: str
    engine: str
    link: str
    date: str
    derived_from: str | None
    derivation: str | None
    kv_pool_tokens: int
    gpu_kv_pool_tokens: int | None
    errors: Mapping[str, LeftOut]
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedPoint:
    """A point as it was given, and its seconds; `low_s` to `high_s` is the 90 % interval."""

    point: Mapping[str, Any]
    predicted_s: float
    low_s: float
    high_s: float
    extrapolated: bool
    mechanisms: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """The answer of ``predict``."""

    profile: str
    within_run: bool
    points: Sequence[PredictedPoint]
    schema: str = "ppdsim/predictions/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """A profile that ``fit`` or ``derive`` wrote, and its card."""

    file: str
    card: ProfileCard
    schema: str = "ppdsim/fitted/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """What ``import`` converted and left out."""

    format: str
    described: str
    notes: Sequence[str]
    refused: Sequence[Refused]
    files: Sequence[str]
    schema: str = "ppdsim/imported/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """What ``report`` drew, and where."""

    result: str
    file: str
    schema: str = "ppdsim/drawn/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """What ``calibrate`` measured, or with ``--dry-run`` would; `card` is null where nothing was fitted."""

    dry_run: bool
    plan: Sequence[str]
    files: Sequence[str]
    card: ProfileCard | None
    schema: str = "ppdsim/calibrated/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingRow:
    """A row of ``doctor``."""

    check: str
    status: str
    found: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """The answer of ``doctor``; `took_s` is how long each check ran, several at a time [s]."""

    failed: bool
    transport: str
    findings: Sequence[FindingRow]
    took_s: Mapping[str, float]
    schema: str = "ppdsim/doctor/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server of ``serve``: what starts it, with the environment that it gets beside yours."""

    name: str
    role: str
    url: str
    gpus: Sequence[int]
    wave: int
    environment: Mapping[str, str]
    command: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The first request through an entry."""

    via: str
    ttft_s: float
    tpot_s: float | None
    e2e_s: float
    prompt_tokens: int
    output_tokens: int
    kv_transfer_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The answer of ``serve``; `pids` with ``--keep-running``.

    Secrets in commands and environments are masked; `notes` say what a dry run leaves to the machine that serves.
    """

    transport: str | None
    servers: Sequence[Server]
    log_dir: str
    keep_running: bool
    notes: Sequence[str] = ()
    requests: Sequence[Request] = ()
    pids: Mapping[str, int] | None = None
    schema: str = "ppdsim/served/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped:
    """The servers that ``serve --stop`` ended, by name."""

    stopped: Mapping[str, int]
    schema: str = "ppdsim/stopped/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIn:
    """A server of ``fake-stack``."""

    role: str
    url: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StandIns:
    """What ``fake-stack`` prints once its servers answer."""

    servers: Sequence[StandIn]
    schema: str = "ppdsim/fake-stack/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A document or a file with a published schema."""

    name: str
    what: str


def _schema(*kinds: Any, words: Sequence[str] = ()) -> Callable[[], dict[str, Any]]:
    """Return what makes the schema of a document that is one of several kinds.

    A kind is a type or, where its module is slow to import, ``module:name``; `words` are texts that stand for numbers.
    """

    def make() -> dict[str, Any]:
        from ppdsim.result_files import json_schema

        return json_schema([resolve_name(each) if isinstance(each, str) else each for each in kinds], words=words)

    return make


def _published(module: str) -> Callable[[], dict[str, Any]]:
    """Return what makes the schema of a file format, which its own module publishes."""

    def make() -> dict[str, Any]:
        found: dict[str, Any] = resolve_name(f"{module}:json_schema")()
        return found

    return make


SCHEMAS: Mapping[str, tuple[str, Callable[[], dict[str, Any]]]] = {
    "measurements": ("file: a row of raw measurements", _published("ppdsim.measurements")),
    "profile": ("file: a calibration profile", _published("ppdsim.profile")),
    "scenario": ("file: a scenario", _published("ppdsim.scenario")),
    "wire": (
        "file: wire.json, a link that 'calibrate --only transfer' measured alone",
        _schema("ppdsim.measure.wire_file:Wire"),
    ),
    "error": ("what any command prints with --json where it fails", _schema(ErrorDocument)),
    "crossover": (
        "crossover --json, and crossover.json or formulas-only.json",
        _schema("ppdsim.answers:CrossoverAnswer", words=("inf", "-inf")),
    ),
    "validate": ("validate --json, and validation.json", _schema("ppdsim.accuracy:Validation")),
    "simulate": (
        "simulate --json: summary.json, policies.json or alternatives.json",
        _schema(Summary, Policies, "ppdsim.comparison:Comparison"),
    ),
    "sweep": ("sweep --json, and sweep.json", _schema("ppdsim.sweep.answer:SweepAnswer")),
    "report": ("report --json", _schema(Drawn)),
    "capacity": (
        "capacity --json: capacity.json or capacities.json",
        _schema("ppdsim.capacity_result:CapacityResult", "ppdsim.capacity_result:CapacityComparison"),
    ),
    "calibrate": ("calibrate --json", _schema(Calibrated)),
    "doctor": ("doctor --json", _schema(Diagnosis)),
    "serve": ("serve --json", _schema(Served, Stopped)),
    "fake-stack": ("fake-stack --json", _schema(StandIns)),
    "scenarios": ("scenarios --json", _schema(Sequence[ScenarioRow])),
    "profiles": ("profiles --json", _schema(Sequence[ProfileRow])),
    "show": ("show --json", _schema(ProfileCard)),
    "predict": ("predict --json", _schema(Predictions)),
    "derive": ("derive --json", _schema(Fitted)),
    "import": ("import --json", _schema(Imported)),
    "fit": ("fit --json", _schema(Fitted)),
    "schema": ("schema --json without a name", _schema(Sequence[Format])),
}
"""What is published: a sentence, and what makes the schema, by name; each command has one under its own name."""
