"""The registry of engines: a new one is one new folder and one line here."""

from __future__ import annotations

from ppdsim.engines.base import AbstractEngine
from ppdsim.engines.sglang import SGLang
from ppdsim.registry import Registry

ENGINES: Registry[AbstractEngine] = Registry("engine", {engine.name: engine for engine in (SGLang(),)})
