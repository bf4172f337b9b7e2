"""From a measured profile to an unmeasured machine: every number tagged, every interval widened.

Curves keep the misfit of their source, and hand-offs that were `mechanism, unmeasured` stay so.

Not modelled: whether the engine picks other kernels, chunks or graph sizes there.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

from ppdsim import __version__
from ppdsim.compose import HALF_NORMAL_90
from ppdsim.derive.errors import TransferErrors, transfers
from ppdsim.derive.machine import KV_BYTES, Machine, Matrices, check, machine_of, shape_of
from ppdsim.derive.move import ERROR_SEED, Mover, normal_errors
from ppdsim.derive.pool import no_room, pool_of
from ppdsim.derive.terms import TERMS
from ppdsim.engines import ENGINES
from ppdsim.errors import InputError
from ppdsim.machine import hardware
from ppdsim.machine.hardware import Gpu, Link
from ppdsim.measurements import Model
from ppdsim.profile import MatricesRecord, Profile
from ppdsim.types import Transport


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What differs from the measured machine; None keeps what was measured. `notes` say what that leaves out."""

    gpu: Gpu | None = None
    model: Model | None = None
    tp: int | None = None
    weights_dtype: str | None = None
    kv_dtype: str | None = None
    mem_fraction_static: float | None = None
    link: Link | None = None
    notes: tuple[str, ...] = ()


def derive(profile: Profile, change: Change, errors: TransferErrors, *, name: str) -> Profile:
    """Return the profile of the changed machine, named `name`.

    Raises
    ------
    InputError
        If nothing changes, the profile cannot be derived from, or no engine runs such a machine.
    """
    if profile.derivation is not None:
        raise InputError(
            f"profile '{profile.id}' is derived from '{profile.provenance['derived_from']}'; derive from that one, "
            "so that errors are not carried twice"
        )
    source = machine_of(profile, hardware.find_gpu(profile.gpu))
    target = _target(source, change)
    check(target)
    kinds = transfers(source, target)
    if not kinds and change.link is None and change.mem_fraction_static is None:
        raise InputError(
            f"profile '{profile.id}' was measured on exactly that; change --gpu, --model, --tp, --dtype, --kv-dtype, "
            "--mem-fraction-static or --link"
        )
    if change.link is not None:
        _check_link(profile, change.link)
    mover = Mover(source=source, target=target, kinds=kinds, errors=errors, link=change.link, z=normal_errors(profile))
    curves = tuple(
        mover.curve(record)
        for record in profile.curves
        if record.transport is not Transport.NVLINK or target.gpu.peer.transport is Transport.NVLINK
    )
    return profile.model_copy(
        update={
            "id": name,
            "machine": f"not measured: {target.tp} x {target.gpu.name} a server, derived from {profile.machine}",
            "gpu": target.gpu.engine_names[0],
            "link": _link_words(profile, source, target, change.link),
            "model": profile.model.model_copy(update=_model_update(target, change.model)),
            "tensor_parallel_size": target.tp,
            **_pools(profile, source, target, change.mem_fraction_static),
            "provenance": _provenance(profile, kinds, change),
            "curves": curves,
            "drift": tuple(mover.drift(found) for found in profile.drift),
            "left_out_rows": (),
            "notes": _notes(profile, target, kinds, errors, change),
        }
    )


def _target(source: Machine, change: Change) -> Machine:
    shape, matrices = source.shape, source.matrices
    if change.model is not None:
        shape = shape_of(change.model, source.shape.dtype_bytes)
        matrices = Matrices.of(change.model)
    if change.kv_dtype is not None:
        shape = replace(shape, dtype_bytes=KV_BYTES[change.kv_dtype])
    return Machine(
        gpu=change.gpu or source.gpu,
        shape=shape,
        matrices=matrices,
        weights_dtype=change.weights_dtype or source.weights_dtype,
        tp=change.tp or source.tp,
    )


def _check_link(profile: Profile, link: Link) -> None:
    have = sorted({record.transport.value for record in profile.curves if record.transport is not None})
    if link.transport is None:
        raise InputError(
            f"--link {link.name}: serves tensor parallelism only; expected a link of a hand-off ({', '.join(have)})"
        )
    if link.transport.value not in have:
        raise InputError(
            f"--link {link.name}: profile '{profile.id}' has no hand-off over {link.transport.value} "
            f"(it has: {', '.join(have) or 'none'})"
        )


def _pools(profile: Profile, source: Machine, target: Machine, fraction: float | None) -> dict[str, object]:
    """Return the pools of the changed server: the measured one stays, in bytes, unless GPUs, model or share change."""
    page = profile.page_size_tokens
    by_rule = pool_of(
        target,
        ENGINES[profile.engine.name].memory_rule,
        page_size_tokens=page,
        chunked_prefill_size=profile.chunked_prefill_size,
        fraction=fraction,
    )
    same_shape = replace(target.shape, dtype_bytes=source.shape.dtype_bytes)
    measured_on = (source.gpu.name, source.tp, source.matrices, source.shape)
    if fraction is None and measured_on == (target.gpu.name, target.tp, target.matrices, same_shape):
        tokens = profile.kv_pool_tokens * source.shape.dtype_bytes // target.shape.dtype_bytes // page * page
    elif by_rule is None:
        raise no_room(target)
    else:
        tokens = by_rule.tokens
    return {
        "kv_pool_tokens": tokens,
        "gpu_kv_pool_tokens": None if by_rule is None else by_rule.tokens,
        "gpu_kv_pool_rule": None if by_rule is None else by_rule.words,
    }


def _model_update(target: Machine, model: Model | None) -> dict[str, object]:
    shape = asdict(target.shape)
    del shape["dtype_bytes"]
    return {
        **shape,
        "kv_bytes_per_token": target.shape.kv_bytes_per_token,
        **({} if model is None else {"context_tokens": model.context_tokens}),
        "matrices": MatricesRecord(**asdict(target.matrices), weights_dtype=target.weights_dtype),
    }


def _link_words(profile: Profile, source: Machine, target: Machine, link: Link | None) -> str:
    words = (
        profile.link
        if source.gpu.name == target.gpu.name
        else f"{target.gpu.peer.name} between the GPUs; host as measured"
    )
    return words if link is None else f"{words}; {link.name}"


def _provenance(profile: Profile, kinds: tuple[str, ...], change: Change) -> dict[str, str]:
    kept = {key: words for key, words in profile.provenance.items() if key in ("points_sha256", "client", "weights")}
    changed = list(kinds)
    if change.mem_fraction_static is not None:
        changed.append(f"mem_fraction_static {change.mem_fraction_static:g}")
    if change.link is not None:
        changed.append(f"link {change.link.name}")
    return {
        "derived_from": profile.id,
        "derived_by": f"ppdsim {__version__}",
        "transfers": ", ".join(changed),
        "draws": f"those of the source, times transfer errors of seed {ERROR_SEED}",
        **kept,
    }


def _notes(
    profile: Profile, target: Machine, kinds: tuple[str, ...], errors: TransferErrors, change: Change
) -> tuple[str, ...]:
    quantities = sorted({term.quantity for laws in TERMS.values() for term in laws.values()})
    widths = [
        f"{quantity} {100 * HALF_NORMAL_90 * errors.together(kinds, quantity):.0f} %"
        for quantity in quantities
        if kinds and errors.together(kinds, quantity) > 0.0
    ]
    link = change.link
    out = [f"DERIVED from {profile.id}: this machine is unmeasured"]
    if widths:
        out.append(f"90 % intervals of parameters are widened by ({', '.join(kinds)}): {', '.join(widths)}")
    if link is not None:
        out.append(
            f"hand-offs over {link.transport.value if link.transport else '-'} travel over {link.name}: links.yaml"
        )
    if "kv" in kinds:
        out.append(f"a value of KV takes {target.shape.dtype_bytes} B: reading, moving and holding it go by that")
    if target.gpu.peer.transport is not Transport.NVLINK:
        out.append(f"{target.gpu.name} has no NVLink: hand-offs over it are left out")
    return (*out, *change.notes, f"chunked_prefill_size {profile.chunked_prefill_size} is that of the measured engine")
