"""The registry of engines: a new one is one new folder and one line here."""

from __future__ import annotations

from ppdsim.engines.base import AbstractEngine, Release
from ppdsim.engines.sglang import SGLang
from ppdsim.registry import Registry

ENGINES: Registry[AbstractEngine] = Registry("engine", {engine.name: engine for engine in (SGLang(),)})
RELEASES: Registry[Release] = Registry(
    "engine",
    {f"{name}-{version}": release for name, engine in ENGINES.items() for version, release in engine.releases.items()},
)
"""Releases as scenarios name them, such as ``sglang-0.5.17``; oldest first."""
