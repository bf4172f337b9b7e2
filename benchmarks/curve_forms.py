"""Which form of a curve predicts cells it has not seen best: the tables of docs/design/curve-forms.md.

    python benchmarks/curve_forms.py

Every form is fitted the same way (bounded, soft L1 on relative residuals) and scored by leave-one-L-out and
leave-one-m-out (decode: one batch, then one context), the left-out value leaving the append curve too. What a forward
rounds up, of which a grid of powers of two shows little, is scored on held-out cells of other runs as well, and for
matrices on published products of one token more than a tile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares
from transfer import tables

from ppdsim import measurements
from ppdsim.cost.base import pad_up
from ppdsim.cost.prefill import attention_rows, chunks
from ppdsim.engines import ENGINES
from ppdsim.engines.sglang.releases import PREFILL_GRAPH_SIZES_TOKENS
from ppdsim.fit.cells import Cells, grid
from ppdsim.fit.crossval import name_of
from ppdsim.fit.curves import PULL, ROBUST_SCALE, fit_append, fit_decode
from ppdsim.fit.run import wave_of

CALIBRATION = Path(__file__).parent.parent / "calibration"
GRID = CALIBRATION / "measurements/h200x2_llama-3.1-8b_sglang-0.5.17"
WITH_HELD_OUT = (
    "h100x2_llama-3.1-8b_sglang-0.5.17",
    "h100x2_llama-3.1-8b_sglang-0.5.17_full",
    "h200x1_llama-3.1-8b_sglang-0.5.17_pinned",
    "h200x1_llama-3.1-8b_sglang-0.5.17",
)
"""Runs that have append cells which no fit has seen."""
ENGINE = ENGINES["sglang"].record("0.5.17")
CHUNK_TOKENS = 8192
Columns = dict[str, np.ndarray]


@dataclass(frozen=True)
class Form:
    """A formula from unit-scaled parameters and columns to seconds; `start` sets the scale of each parameter."""

    name: str
    seconds: Callable[..., np.ndarray]
    start: tuple[float, ...]


def smax(a: np.ndarray, b: np.ndarray, k: float) -> np.ndarray:
    return (a**k + b**k) ** (1 / k)


def append_forms() -> list[Form]:
    def gpu(x: Columns, a: float, q: float, r: float) -> np.ndarray:
        return a * x["m"] + q * x["m"] * (x["L"] + x["m"] / 2) + r * x["L"]

    def front(x: Columns, f: float, t: float) -> np.ndarray:
        return f + t * (x["L"] + x["m"])

    base = (4.5e-3, 2e-7, 8e-3, 22e-6, 9e-10)
    return [
        Form("floor + GPU work", lambda x, f, t, h, a, q: front(x, f, t) + h + gpu(x, a, q, 0), base),
        Form("max(floor, GPU)", lambda x, f, t, h, a, q: front(x, f, t) + np.maximum(h, gpu(x, a, q, 0)), base),
        Form(
            "smooth max(floor, GPU)",
            lambda x, f, t, h, a, q, k: front(x, f, t) + smax(h + 0 * x["m"], gpu(x, a, q, 0), k),
            (*base, 3.0),
        ),
        Form(
            "smooth max(floor, GPU with KV read)",
            lambda x, f, t, h, a, q, k, r: front(x, f, t) + smax(h + 0 * x["m"], gpu(x, a, q, r), k),
            (*base, 3.0, 1e-8),
        ),
        Form(
            "the same, attention in tiles of 32 tokens",
            lambda x, f, t, h, a, q, k, r: (
                front(x, f, t)
                + smax(
                    h + 0 * x["m"], a * x["m"] + q * np.ceil(x["m"] / 32) * 32 * (x["L"] + x["m"] / 2) + r * x["L"], k
                )
            ),
            (*base, 3.0, 1e-8),
        ),
        Form(
            "the same, attention to itself apart",
            lambda x, f, t, h, a, q, k, e: (
                front(x, f, t) + smax(h + 0 * x["m"], a * x["m"] + q * x["m"] * x["L"] + e * x["m"] ** 2 / 2, k)
            ),
            (*base, 3.0, 1e-9),
        ),
    ]


def up(tokens: np.ndarray, unit: float) -> np.ndarray:
    return np.ceil(tokens / unit) * unit


def rounding_forms(wave_tokens: float) -> list[Form]:
    """Return the shipped form of the append curve, chunks and captured sizes included, by what a forward rounds up."""

    def waves(m: np.ndarray) -> np.ndarray:
        return np.asarray(attention_rows(m, wave_tokens))

    def tiles(unit: float) -> Callable[[np.ndarray], np.ndarray]:
        return lambda m: np.where(m > unit, up(m, unit), m)

    def same(m: np.ndarray) -> np.ndarray:
        return m

    def form(name: str, rows: Callable[[np.ndarray], np.ndarray], tokens: Callable[[np.ndarray], np.ndarray]) -> Form:
        def seconds(x: Columns, f: float, t: float, h: float, a: float, q: float, k: float, r: float) -> np.ndarray:
            total, hidden = f + t * (x["L"] + x["m"]), np.zeros(len(x["m"]))
            for start, m in chunks(x["m"], CHUNK_TOKENS):
                before = x["L"] + start
                padded = np.asarray(pad_up(m, PREFILL_GRAPH_SIZES_TOKENS))
                gpu = a * tokens(padded) + q * rows(m) * (before + m / 2) + r * before
                cost = smax(np.maximum(h - hidden, 0), gpu, k)
                total, hidden = total + cost * (m > 0), cost
            return total

        return Form(name, seconds, (4.5e-3, 2e-7, 8e-3, 22e-6, 9e-10, 3.0, 1e-8))

    return [
        form("nothing", same, same),
        form("attention to waves, beyond the first", waves, same),
        form(
            "attention to tiles of 128 tokens and to waves, beyond the first",
            lambda m: np.where(m > wave_tokens, waves(up(m, 128.0)), m),
            same,
        ),
        form("attention to waves, the first too", lambda m: up(m, wave_tokens), same),
        form("attention to tiles of 128 tokens", tiles(128.0), same),
        form("attention to waves beyond the first, matrices to tiles of 128 tokens", waves, tiles(128.0)),
        form("attention to waves beyond the first, matrices to tiles of 256 tokens", waves, tiles(256.0)),
    ]


def decode_forms() -> list[Form]:
    def kv(x: Columns, c: float) -> np.ndarray:
        return c * x["B"] * x["context"]

    return [
        Form("floor + rows + KV", lambda x, f, r, c: f + r * x["B"] + kv(x, c), (4.8e-3, 1e-5, 3e-8)),
        Form(
            "smooth max(floor, rows) + KV",
            lambda x, f, w, r, c: smax(f + 0 * x["B"], w + r * x["B"], 8) + kv(x, c),
            (4.3e-3, 4.5e-3, 1e-5, 3e-8),
        ),
        Form(
            "smooth max(floor, rows + KV)",
            lambda x, f, w, r, c: smax(f + 0 * x["B"], w + r * x["B"] + kv(x, c), 8),
            (4e-3, 4.7e-3, 1e-5, 3e-8),
        ),
        Form(
            "floor + rows + rows^2 + KV",
            lambda x, f, r, s, c: f + r * x["B"] + s * x["B"] ** 2 + kv(x, c),
            (4.8e-3, 1e-5, 1e-8, 3e-8),
        ),
    ]


def stall_forms() -> list[Form]:
    return [
        Form("T_ext + T_step", lambda x, z: x["T"] + x["step"] + 0 * z, (1.0,)),
        Form("less a constant", lambda x, h: x["T"] + x["step"] - h, (4e-3,)),
        Form("less a constant and a share", lambda x, h, s: x["T"] * (1 - s) + x["step"] - h, (4e-3, 0.01)),
        Form(
            "launch floor hidden: max(GPU, floor - step)",
            lambda x, s: np.maximum(x["T"] - s * np.minimum(x["step"], x["T"]), 0) + x["step"],
            (0.5,),
        ),
        Form(
            "token before the gap late: max(0, launch - step)",
            lambda x, h: x["T"] + x["step"] - np.maximum(h - x["step"], 0),
            (9e-3,),
        ),
    ]


def handoff_forms(cells: Cells) -> list[Form]:
    full = cells.arm.value == "p-full"

    def compose(x: Columns, before: np.ndarray, early: np.ndarray, late: np.ndarray) -> np.ndarray:
        return x["front"] + before + np.maximum(x["T"], early) + late

    def sent(x: Columns) -> np.ndarray:
        return x["L"] if full else 0 * x["L"]

    def prefix(x: Columns, half: float) -> np.ndarray:
        return x["L"] / (x["L"] + half)

    def some(x: Columns) -> np.ndarray:
        return (x["L"] > 0).astype(float)

    forms = [
        Form("handshake", lambda x, h: compose(x, h, 0, 0), (1e-2,)),
        Form(
            "handshake, wire, prefix beside the forward",
            lambda x, h, w: compose(x, h, w * sent(x), w * x["m"]),
            (1e-2, 1e-6),
        ),
        Form(
            "handshake, wire, prefix after the forward",
            lambda x, h, w: compose(x, h, 0, w * (sent(x) + x["m"])),
            (1e-2, 1e-6),
        ),
        Form(
            "and a step where a prefix exists (beside)",
            lambda x, h, w, p: compose(x, h + p * some(x), w * sent(x), w * x["m"]),
            (1e-2, 1e-6, 5e-3),
        ),
        Form(
            "and a step where a prefix exists (after)",
            lambda x, h, w, p: compose(x, h + p * some(x), 0, w * (sent(x) + x["m"])),
            (1e-2, 1e-6, 5e-3),
        ),
    ]
    forms += [
        Form(
            f"prefix cost saturating at {half} tokens (after)",
            lambda x, h, w, p, half=half: compose(x, h + p * prefix(x, half), 0, w * (sent(x) + x["m"])),
            (1e-2, 1e-6, 5e-3),
        )
        for half in (128, 256, 512, 1024)
    ]
    forms += [
        Form(
            f"and a slower wire while D holds few tokens ({half})",
            lambda x, h, w, p, f, half=half: compose(
                x, h + p * prefix(x, 256), w * sent(x), x["m"] * (w + f * half / (half + x["held"]))
            ),
            (1e-2, 1e-6, 5e-3, 1e-6),
        )
        for half in (1024, 2048, 4096)
    ]
    return forms


def fit(form: Form, x: Columns, seconds: np.ndarray) -> np.ndarray:
    scale = np.array(form.start)

    def residuals(unit: np.ndarray) -> np.ndarray:
        return np.concatenate([form.seconds(x, *(unit * scale)) / seconds - 1, PULL * (unit - 1)])

    start = np.ones(len(scale))
    return least_squares(residuals, start, bounds=(0, np.inf), loss="soft_l1", f_scale=ROBUST_SCALE).x * scale


def columns(cells: Cells, append: Cells, decode: Cells, wave_tokens: float) -> Columns:
    """Return what the forms use; T and front come from an append curve fitted without what is left out."""
    x: Columns = {
        "L": cells.cached_tokens,
        "m": cells.new_tokens,
        "B": cells.batch,
        "context": cells.context_tokens,
        "held": cells.cached_tokens if cells.arm.value == "p-delta" else np.zeros(len(cells)),
    }
    if cells.kind != "decode":
        prefill, frontend = fit_append(append, CHUNK_TOKENS, wave_tokens, ENGINE)
        x["T"] = np.asarray(prefill.seconds(cells.new_tokens, cells.cached_tokens, CHUNK_TOKENS))
        x["front"] = np.asarray(frontend.before_s(cells.cached_tokens + cells.new_tokens) + frontend.after_s())
        x["step"] = np.asarray(fit_decode(decode, 0.0, ENGINE).step_s(cells.batch, cells.batch * cells.context_tokens))
    return x


def score(form: Form, cells: Cells, append: Cells, decode: Cells, wave_tokens: float) -> tuple[np.ndarray, np.ndarray]:
    x = columns(cells, append, decode, wave_tokens)
    inside = np.abs(form.seconds(x, *fit(form, x, cells.seconds)) / cells.seconds - 1)
    outside: list[float] = []
    for name in ("batch", "context") if cells.kind == "decode" else ("cached_tokens", "new_tokens"):

        def key(group: Cells, name: str = name) -> np.ndarray:
            return np.round(group.context_tokens / 256) if name == "context" else getattr(group, name)

        for value in np.unique(key(cells)):
            keep = key(cells) != value
            thin = append if cells.kind == "decode" else append.pick(key(append) != value)
            kept = columns(cells.pick(keep), thin, decode, wave_tokens)
            gone = columns(cells.pick(~keep), thin, decode, wave_tokens)
            parameters = fit(form, kept, cells.seconds[keep])
            outside += list(np.abs(form.seconds(gone, *parameters) / cells.seconds[~keep] - 1))
    return inside, np.array(outside)


def show(errors: np.ndarray) -> str:
    ranked = np.sort(errors)
    return f"{100 * np.median(ranked):.1f} / {100 * ranked[min(len(ranked) - 1, int(0.9 * len(ranked)))]:.1f}"


def rounding() -> None:
    """Print how each rounding of a forward does on left-out and on held-out cells of every run that has both."""
    print("\n### What a forward rounds up\n")
    for name in WITH_HELD_OUT:
        measured = measurements.read(CALIBRATION / "measurements" / name)
        fitted, held = grid(measured).append, grid(measured, "validation").append
        print(f"\n{name}: {len(fitted)} cells to fit, {len(held)} held out\n")
        print("| rounded up | left out, median / p90 % | held out, median / p90 % | held-out bias % |")
        print("|---|---|---|---|")
        x, unseen = ({"L": cells.cached_tokens, "m": cells.new_tokens} for cells in (fitted, held))
        for form in rounding_forms(wave_of(measured.manifest)):
            outside: list[float] = []
            for key in ("L", "m"):
                for value in np.unique(x[key]):
                    keep = x[key] != value
                    kept, gone = ({n: c[where] for n, c in x.items()} for where in (keep, ~keep))
                    parameters = fit(form, kept, fitted.seconds[keep])
                    outside += list(np.abs(form.seconds(gone, *parameters) / fitted.seconds[~keep] - 1))
            error = form.seconds(unseen, *fit(form, x, fitted.seconds)) / held.seconds - 1
            print(
                f"| {form.name} | {show(np.array(outside))} | {show(np.abs(error))} | {100 * np.median(error):+.1f} |"
            )


def products_beyond_a_tile() -> None:
    """Print what one token more than a multiple of 256 adds to published matrix products."""
    table = tables.gemm(CALIBRATION / "published").set_index(["gpu", "n", "k", "m"])["seconds"]
    table = table[~table.index.duplicated()]
    wide = table.unstack("m")
    print("\n### One token beyond a tile of the matrices (AIConfigurator, bf16 products on H100 and H200)\n")
    print("| tokens | products | median seconds of one token more | a quarter above | tiles of 256 would say |")
    print("|---|---|---|---|---|")
    for tokens in (256, 512, 768, 1024, 2048, 4096):
        ratio = np.asarray((wide[tokens + 1] / wide[tokens]).dropna())
        print(
            f"| {tokens} | {len(ratio)} | {100 * (np.median(ratio) - 1):+.1f} % "
            f"| {100 * (np.quantile(ratio, 0.75) - 1):+.1f} % | {100 * 256 / tokens:+.1f} % |"
        )


def main() -> None:
    measured = measurements.read(GRID)
    found, wave_tokens = grid(measured), wave_of(measured.manifest)
    groups = [(found.append, append_forms()), (found.decode, decode_forms()), (found.stall, stall_forms())]
    groups += [(cells, handoff_forms(cells)) for cells in found.handoffs]

    for cells, forms in groups:
        print(f"\n### {name_of(cells)} ({len(cells)} cells)\n")
        print("| form | parameters | in sample, median / p90 % | left out, median / p90 % |")
        print("|---|---|---|---|")
        for form in forms:
            inside, outside = score(form, cells, found.append, found.decode, wave_tokens)
            print(f"| {form.name} | {len(form.start)} | {show(inside)} | {show(outside)} |")
    rounding()
    products_beyond_a_tile()


if __name__ == "__main__":
    main()
