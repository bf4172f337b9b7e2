"""``ppdsim derive``: a measured profile to another GPU, model, number of GPUs, dtype or link."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from ppdsim.cli.common import (
    ForceOption,
    JsonOption,
    ProfileArgument,
    QuietOption,
    completes,
    print_json,
    print_status,
    print_written,
)
from ppdsim.cli.run_folder import check_file


def _gpus() -> Iterable[str]:
    from ppdsim.machine import hardware

    return hardware.gpus()


def _links() -> Iterable[str]:
    from ppdsim.machine import hardware

    return hardware.links()


def derive(
    profile: ProfileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Profile to write (JSON); its name is the file's.")],
    gpu: Annotated[
        str | None,
        typer.Option(help="GPU of calibration/hardware.yaml, such as H100-SXM.", autocompletion=completes(_gpus)),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="config.json of a Hugging Face model (dense Llama, Mistral, Qwen2, Qwen3), or its folder."),
    ] = None,
    tp: Annotated[
        int | None, typer.Option(help="Number of GPUs that one server spreads the model over.", min=1, max=64)
    ] = None,
    dtype: Annotated[
        Literal["bf16", "fp8"] | None, typer.Option(help="Data type of the layers' weights; the KV keeps its type.")
    ] = None,
    kv_dtype: Annotated[
        Literal["bf16", "fp8"] | None,
        typer.Option(help="Data type of the KV, as the engine's --kv-cache-dtype; the weights keep theirs."),
    ] = None,
    mem_fraction_static: Annotated[
        float | None,
        typer.Option(
            help="Share of each GPU's memory for weights and KV, as the engine's flag; by default its own rule.",
            min=0.01,
            max=0.999,
        ),
    ] = None,
    link: Annotated[
        str | None,
        typer.Option(help="Link of calibration/links.yaml, such as rdma-200g.", autocompletion=completes(_links)),
    ] = None,
    force: ForceOption = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Derive the profile of an unmeasured machine; what you do not give stays as measured.

    Every number is tagged measured, derived or data-sheet, and its interval is widened by the error that published
    tables show for that kind of transfer.

    Example: ppdsim derive h200 --gpu H100-SXM -o my-h100.json
    """
    from ppdsim import library
    from ppdsim import profile as profiles
    from ppdsim.card import card_of, to_text
    from ppdsim.cli.documents import Fitted
    from ppdsim.derive import errors
    from ppdsim.derive.derive import Change
    from ppdsim.derive.derive import derive as derived
    from ppdsim.errors import InputError
    from ppdsim.machine import hardware
    from ppdsim.machine.model_config import check_dtypes, read_config

    if out.suffix != ".json":
        raise InputError(f"-o {out}: expected a file that ends in .json")
    check_file(out, "-o", force=force)
    if model is not None and model.is_dir():
        model = model / "config.json"
    described = None if model is None else read_config(model, dummy_weights=True)
    if described is not None:
        check_dtypes(described, weights_dtype=dtype, kv_dtype=kv_dtype, where=str(model))
    change = Change(
        gpu=None if gpu is None else hardware.find_gpu(gpu),
        model=None if described is None else described.model,
        notes=() if described is None else described.notes,
        tp=tp,
        weights_dtype=dtype,
        kv_dtype=kv_dtype,
        mem_fraction_static=mem_fraction_static,
        link=None if link is None else hardware.find_link(link),
    )
    found = derived(profiles.load(library.find("profile", profile)), change, errors.load(), name=out.stem)
    profiles.save(found, out)
    card = card_of(found)
    if json:
        print_json(asdict(Fitted(file=str(out), card=card)))
    else:
        print_status(to_text(card), quiet=quiet)
    print_written([out], quiet=quiet)
