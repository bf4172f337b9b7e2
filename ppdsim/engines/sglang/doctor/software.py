"""Python, torch, SGLang and what it is built on: installed, of versions that go together, and really importing."""

from __future__ import annotations

from ppdsim.engines.doctor.driver import driver_version, has_driver
from ppdsim.engines.doctor.finding import Finding, failure, ok, warning
from ppdsim.engines.sglang.doctor.imports import import_failure
from ppdsim.engines.sglang.doctor.versions import CUDA_13_SINCE, PINS, Pins, numbers, pins_of
from ppdsim.machine.host import AbstractMachine

OLDEST_PYTHON = (3, 10)
INSTALL_ENGINE = "pip install 'ppdsim[live,engine]'"
UPDATE_DRIVER = "apt-get install -y nvidia-driver-580  # then reboot"
MINIMUM_DRIVER = {"13": (580, 0), "12": (525, 60)}
"""Oldest driver for a major version of CUDA; CUDA release notes, table of minimum driver versions."""
ENGINE_MODULE = "sglang.launch_server"
"""What is started as a server; it imports SGLang and what that needs."""
KERNEL_PACKAGES = ("sglang-kernel", "sgl-kernel")
"""The kernel package by its present and by its former name; both are imported as sgl_kernel."""
TORCH = "torch.version.cuda, torch.cuda.is_available()"
SKIP_KERNEL_CHECK = "SGLANG_SKIP_SGL_KERNEL_VERSION_CHECK"
SKIP_FLASHINFER_CHECK = "FLASHINFER_DISABLE_VERSION_CHECK"


def pins_here(machine: AbstractMachine) -> Pins | None:
    """Return what the installed SGLang pins; None without one, or if it is in no row of the table."""
    version = machine.version("sglang")
    return None if version is None else pins_of(version)


def check_python(machine: AbstractMachine) -> list[Finding]:
    """Return whether Python is new enough for the SGLang that is installed."""
    pins = pins_here(machine)
    oldest, what = (OLDEST_PYTHON, "SGLang") if pins is None else (pins.python, f"SGLang {machine.version('sglang')}")
    found = ".".join(str(part) for part in machine.python)
    if machine.python < oldest:
        needed = ".".join(str(part) for part in oldest)
        return [failure("python", f"{found}, {what} needs {needed} or later", "apt-get install -y python3.12")]
    return [ok("python", found)]


def check_torch(machine: AbstractMachine) -> list[Finding]:
    """Return torch's version, its CUDA build, whether the driver and the engine fit it, and whether it sees GPUs."""
    version = machine.version("torch")
    if version is None:
        return [failure("torch", "not installed", INSTALL_ENGINE)]
    pins = pins_here(machine)
    reinstall = f"pip install --force-reinstall torch=={version.split('+')[0] if pins is None else pins.torch}"
    # One import tells both, and importing torch is most of what this check takes.
    cuda, _, available = (machine.evaluate(TORCH) or "").partition(" ")
    if not available:
        error = machine.import_error("torch") or "torch.cuda.is_available() ended its process"
        return [import_failure("torch", version, error, reinstall)]
    if cuda == "None":
        return [failure("torch", f"{version}, built without CUDA", reinstall)]
    text = f"{version} for CUDA {cuda}"
    major = cuda.split(".", maxsplit=1)[0]
    driver, least = driver_version(machine), MINIMUM_DRIVER.get(major)
    if driver is not None and least is not None and numbers(driver)[:2] < least:
        needs = ".".join(str(part) for part in least)
        return [failure("torch", f"{text}; driver {driver}, it needs {needs} or later", UPDATE_DRIVER)]
    if has_driver(machine) and available != "True":
        visible = machine.environment.get("CUDA_VISIBLE_DEVICES")
        if visible is not None:
            found = f"{text}; torch.cuda.is_available() is False, CUDA_VISIBLE_DEVICES={visible}"
            return [failure("torch", found, "unset CUDA_VISIBLE_DEVICES")]
        fix = "python -c 'import torch; torch.cuda.init()'  # says why"
        return [failure("torch", f"{text}; torch.cuda.is_available() is False", fix)]
    if pins is not None and numbers(pins.sglang) >= numbers(CUDA_13_SINCE) and major != "13":
        fix = f"pip install --force-reinstall torch=={pins.torch} --index-url https://download.pytorch.org/whl/cu130"
        return [warning("torch", f"{text}; SGLang {machine.version('sglang')} is built for CUDA 13", fix)]
    return [ok("torch", text)]


def check_engine(machine: AbstractMachine) -> list[Finding]:
    """Return SGLang's version, whether it really imports, and whether torch and transformers are those it pins."""
    version = machine.version("sglang")
    if version is None:
        return [failure("sglang", "not installed", INSTALL_ENGINE)]
    pins = pins_of(version)
    misfits: list[tuple[str, str, str]] = []
    if pins is not None:
        wanted = {"torch": pins.torch, "transformers": pins.transformers}
        installed = {package: machine.version(package) for package in wanted}
        misfits = [
            (package, have, wanted[package])
            for package, have in installed.items()
            if have is not None and numbers(have) != numbers(wanted[package])
        ]
    pinned = "pip install " + " ".join(f"{package}=={needed}" for package, _, needed in misfits)
    misfit = ", ".join(f"{package} {have} where it pins {needed}" for package, have, needed in misfits)
    error = machine.import_error(ENGINE_MODULE)
    if error is not None:
        if misfits:
            return [import_failure("sglang", f"{version} ({misfit})", error, pinned)]
        return [import_failure("sglang", version, error, f"pip install sglang=={version}  # and what it depends on")]
    if misfits:
        return [warning("sglang", f"{version}, with {misfit}", pinned)]
    if pins is None:
        known = f"{PINS[0].sglang} to {PINS[-1].sglang}"
        fix = "pip check  # says whether what is installed goes together"
        return [warning("sglang", f"{version}, imports; none of the releases that were looked at ({known})", fix)]
    return [ok("sglang", f"{version}, imports")]


def check_kernel(machine: AbstractMachine) -> list[Finding]:
    """Return whether SGLang's kernel package is there, of the version that the engine wants, and really imports."""
    sglang = machine.version("sglang")
    if sglang is None:
        return [ok("kernel package", "not looked for without SGLang")]
    pins = pins_of(sglang)
    names = KERNEL_PACKAGES if pins is None else (pins.kernel,)
    name = next((name for name in names if machine.version(name) is not None), names[0])
    wanted = name if pins is None else f"{name}=={pins.kernel_version}"
    found = machine.version(name)
    if found is None:
        return [failure("kernel package", f"{name} is not installed", f"pip install {wanted}")]
    error = machine.import_error("sgl_kernel")
    if error is not None:
        torch = "" if pins is None else f" torch=={pins.torch}"
        fix = f"pip install --upgrade --no-cache-dir {wanted}{torch}"
        finding = import_failure("kernel package", f"{name} {found}", error, fix)
        # What was built for another PyTorch is fixed by the pair that this release of the engine pins.
        return [failure(finding.check, finding.found, fix) if "undefined symbol" in error else finding]
    if pins is None or numbers(found) == numbers(pins.kernel_version):
        return [ok("kernel package", f"{name} {found}, imports")]
    text = f"{name} {found}, imports; SGLang {sglang} pins {pins.kernel_version}"
    if numbers(found) < numbers(pins.kernel_version) and not machine.environment.get(SKIP_KERNEL_CHECK):
        return [failure("kernel package", f"{text} and starts with nothing older", f"pip install {wanted}")]
    return [warning("kernel package", text, f"pip install {wanted}")]


def check_flashinfer(machine: AbstractMachine) -> list[Finding]:
    """Return whether flashinfer is there, of the version that the engine pins, and of that of its own kernels."""
    pins = pins_here(machine)
    wanted = "flashinfer-python" if pins is None else f"flashinfer-python=={pins.flashinfer}"
    if machine.version("sglang") is None:
        return [ok("flashinfer", "not looked for without SGLang")]
    found = machine.version("flashinfer-python")
    if found is None:
        return [failure("flashinfer", "flashinfer-python is not installed", f"pip install {wanted}")]
    cubin = machine.version("flashinfer-cubin")
    if cubin is not None and numbers(cubin) != numbers(found) and not machine.environment.get(SKIP_FLASHINFER_CHECK):
        text = f"flashinfer-python {found} with flashinfer-cubin {cubin}: it imports only with the same"
        return [failure("flashinfer", text, f"pip install flashinfer-cubin=={found}")]
    if pins is not None and numbers(found) != numbers(pins.flashinfer):
        text = f"{found}; SGLang {machine.version('sglang')} pins {pins.flashinfer}"
        return [warning("flashinfer", text, f"pip install {wanted}")]
    return [ok("flashinfer", found)]
