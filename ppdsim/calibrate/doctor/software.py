"""Python, torch, SGLang and its kernel package: installed, of versions that go together, and really importing."""

from __future__ import annotations

from ppdsim.calibrate.doctor.finding import Finding, failure, ok, warning
from ppdsim.calibrate.doctor.machine import AbstractMachine
from ppdsim.calibrate.doctor.versions import numbers, pins_of
from ppdsim.calibrate.troubles import recognise

OLDEST_PYTHON = (3, 10)
INSTALL_ENGINE = "pip install 'ppdsim[live,engine]'"
MINIMUM_DRIVER = {"13": (580, 0), "12": (525, 60)}
"""Oldest driver for a major version of CUDA; CUDA release notes, table of minimum driver versions."""


def check_python(machine: AbstractMachine) -> list[Finding]:
    """Return whether Python is new enough."""
    found = ".".join(str(part) for part in machine.python)
    if machine.python < OLDEST_PYTHON:
        return [failure("python", f"{found}, SGLang needs 3.10 or later", "apt-get install -y python3.12")]
    return [ok("python", found)]


def check_torch(machine: AbstractMachine) -> list[Finding]:
    """Return torch's version, its CUDA build, and whether it sees the GPUs."""
    version = machine.version("torch")
    if version is None:
        return [failure("torch", "not installed", INSTALL_ENGINE)]
    cuda = machine.evaluate("torch.version.cuda")
    if cuda in (None, "None"):
        return [failure("torch", f"{version}, built without CUDA", INSTALL_ENGINE)]
    driver = machine.driver()
    least = MINIMUM_DRIVER.get(str(cuda).split(".", maxsplit=1)[0])
    if driver is not None and least is not None and numbers(driver)[:2] < least:
        needs = ".".join(str(part) for part in least)
        return [
            failure("torch", f"{version} for CUDA {cuda}; driver {driver}, it needs {needs} or later", UPDATE_DRIVER)
        ]
    return [ok("torch", f"{version} for CUDA {cuda}")]


UPDATE_DRIVER = "apt-get install -y nvidia-driver-580  # then reboot"


def check_engine(machine: AbstractMachine) -> list[Finding]:
    """Return SGLang's version, whether what it needs is installed in the version that it pins."""
    version = machine.version("sglang")
    if version is None:
        return [failure("sglang", "not installed", INSTALL_ENGINE)]
    pins = pins_of(version)
    if pins is None:
        return [
            warning("sglang", f"{version}, older than any release that was looked at", "pip install sglang==0.5.17")
        ]
    misfits = []
    for package, wanted in (("torch", pins.torch), ("transformers", pins.transformers)):
        installed = machine.version(package)
        if installed is not None and numbers(installed) != numbers(wanted):
            misfits.append((package, installed, wanted))
    if misfits:
        text = ", ".join(f"{package} {have} where it pins {wanted}" for package, have, wanted in misfits)
        mend = " ".join(f"{package}=={wanted}" for package, _, wanted in misfits)
        return [warning("sglang", f"{version}, with {text}", f"pip install {mend}")]
    return [ok("sglang", version)]


def check_kernel(machine: AbstractMachine) -> list[Finding]:
    """Return whether SGLang's kernel package is there and really imports."""
    version = machine.version("sglang")
    pins = None if version is None else pins_of(version)
    if pins is None:
        return []
    found = machine.version(pins.kernel)
    if found is None:
        return [failure("kernel package", f"{pins.kernel} is not installed", f"pip install {pins.kernel}")]
    error = machine.import_error("sgl_kernel")
    if error is not None:
        trouble = recognise(error)
        last = error.strip().splitlines()[-1][:200] if error.strip() else "no message"
        reason = last if trouble is None else f"{trouble.reason} ({last})"
        mend = f"pip install --upgrade --no-cache-dir {pins.kernel}" if trouble is None else trouble.mend
        return [failure("kernel package", f"{pins.kernel} {found} does not import: {reason}", mend)]
    return [ok("kernel package", f"{pins.kernel} {found}, imports")]
