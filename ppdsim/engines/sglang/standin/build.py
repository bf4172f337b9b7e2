"""From a profile to the parts of a stand-in: settings, model, a core by role."""

from __future__ import annotations

from enum import Enum

from ppdsim import compose, library
from ppdsim import profile as profiles
from ppdsim.engines.sglang.standin.core import CoreSettings
from ppdsim.profile import Profile
from ppdsim.types import Transport


class Mode(str, Enum):
    """SGLang's disaggregation modes; ``null`` is a unified server."""

    NULL = "null"
    PREFILL = "prefill"
    DECODE = "decode"


def load_profile(name: str) -> Profile:
    """Read a profile by name or path.

    Raises
    ------
    UnknownNameError
        If there is none of that name.
    ProfileError
        If it is malformed, or a curve is missing.
    """
    profile = profiles.load(library.find("profile", name))
    compose.central(profile)
    return profile


def settings_of(
    profile: Profile,
    *,
    transport: Transport,
    decode_radix: bool = False,
    kv_pool_tokens: int | None = None,
    page_tokens: int | None = None,
    chunk_tokens: int | None = None,
    max_running_requests: int | None = None,
    mixed_chunk: bool = False,
    context_tokens: int = 131_072,
) -> CoreSettings:
    """Return the settings of a server; None is what the profile has, a chunk size below 1 means no chunks."""
    chunk = profile.chunked_prefill_size if chunk_tokens is None else chunk_tokens
    pool = profile.kv_pool_tokens if kv_pool_tokens is None else kv_pool_tokens
    page = profile.page_size_tokens if page_tokens is None else page_tokens
    return CoreSettings(
        kv_pool_tokens=pool,
        page_tokens=page,
        # A chunk is cut at a page, so it has one at least.
        chunk_tokens=max(chunk, page) if chunk > 0 else pool,
        max_running_requests=min(2048, max(pool // 2, 1)) if max_running_requests is None else max_running_requests,
        context_tokens=context_tokens,
        transport=transport,
        decode_radix=decode_radix,
        mixed_chunk=mixed_chunk,
    )
