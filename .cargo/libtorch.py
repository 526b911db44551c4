#!/usr/bin/env python3
"""Finds or fetches libtorch 2.11 and points the link `.libtorch` at it.

Looks, in this order, at the folder in LIBTORCH, the torch 2.11 of this Python, the cache,
and the wheels on the package index (unpacked, never imported). Repeating the command
repairs an interrupted run. A complete cache is never fetched again.

    python3 .cargo/libtorch.py            # set up, print the folder
    python3 .cargo/libtorch.py --check    # only print what would be used
"""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "2.11.0"
# The wheel's CPU library needs these two at load time, even on a machine without a GPU.
COMPANIONS = ["nvidia-cuda-cupti==13.0.85", "nvidia-cuda-runtime==13.0.96"]
# In bytes: wheels take 0.55 GB, and what is unpacked from them takes 1.1 GB.
DISK_NEEDED = 2_000_000_000

ROOT = Path(__file__).resolve().parent.parent
LINK = ROOT / ".libtorch"


def fail(message):
    sys.exit(f"libtorch: {message}")


def version_of(folder):
    """The version of the libtorch in `folder` (without `+cu130` and the like), or None."""
    if not (folder / "lib").is_dir() or not any((folder / "lib").glob("libtorch_cpu.*")):
        return None
    for name, pattern in [
        ("build-version", r"([\d.]+)"),
        ("version.py", r"__version__ = ['\"]([\d.]+)"),
        ("include/torch/version.h", r'TORCH_VERSION "([\d.]+)'),
        ("include/torch/headeronly/version.h", r'TORCH_VERSION "([\d.]+)'),
    ]:
        try:
            found = re.search(pattern, (folder / name).read_text())
        except OSError:
            continue
        if found:
            return found.group(1)
    return "unknown"


def from_environment():
    value = os.environ.get("LIBTORCH")
    if not value:
        return None
    if Path(os.path.abspath(value)) == LINK:
        return None  # cargo's own setting, which names the link that this command makes
    folder = Path(value).resolve()
    version = version_of(folder)
    if version is None:
        fail(
            f"LIBTORCH is {value}, but there is no lib/libtorch_cpu there; "
            f"set it to the folder of libtorch {VERSION}, or unset it"
        )
    if version != VERSION:
        fail(
            f"LIBTORCH is {value}, version {version}; {VERSION} is needed: "
            "set it to that version's folder, or unset it"
        )
    return folder


def from_python():
    try:
        spec = importlib.util.find_spec("torch")  # finds the package without running it
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.origin:
        return None
    folder = Path(spec.origin).resolve().parent
    return folder if version_of(folder) == VERSION and (folder / "include").is_dir() else None


def cache_folder():
    base = os.environ.get("GAUNTLET_CACHE")
    if not base:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gauntlet"
    return (
        Path(base).absolute()
        / f"libtorch-{VERSION}-{platform.system().lower()}-{platform.machine()}"
    )


def in_cache():
    folder = cache_folder()
    return (
        folder / "torch"
        if (folder / "complete").exists() and version_of(folder / "torch") == VERSION
        else None
    )


def wanted(name):
    """Whether a wheel's file is needed to compile and run against libtorch."""
    top = name.split("/")[:2]
    if top[0] == "nvidia":
        return True
    return (
        len(top) == 2
        and top[0] == "torch"
        and (
            top[1] in ("include", "version.py")
            or (top[1] == "lib" and "libtorch_python" not in name)
        )
        or name.endswith(("LICENSE", "NOTICE"))
    )


def download(into):
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True).returncode:
        fail(
            f"{sys.executable} has no pip; install it (Debian: apt-get install python3-pip), "
            f"or set LIBTORCH to a libtorch {VERSION}"
        )
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(into),
    ]
    # torch has a wheel for each Python. Any will do, since nothing is imported.
    exact = [
        "--python-version",
        "3.12",
        "--implementation",
        "cp",
        "--platform",
        f"manylinux_2_28_{platform.machine()}",
    ]
    for arguments in (exact + [f"torch=={VERSION}"], COMPANIONS):
        run = subprocess.run(pip + arguments, text=True, capture_output=True)
        if run.returncode:
            reason = (run.stderr.strip().splitlines() or ["no reason given"])[-1]
            fail(f"pip could not download {' '.join(a for a in arguments if '==' in a)}: {reason}")


def fetch():
    if platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"):
        fail(
            f"no wheel is known for {platform.system()} {platform.machine()}; "
            f"set LIBTORCH to a libtorch {VERSION}"
        )
    final = cache_folder()
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        fail(
            f"the cache folder {final.parent} cannot be made: {error.strerror}; "
            "set GAUNTLET_CACHE to another"
        )
    free = shutil.disk_usage(final.parent).free
    if free < DISK_NEEDED:
        fail(
            f"{final.parent} has {free / 1e9:.1f} GB free and {DISK_NEEDED / 1e9:.0f} GB are "
            "needed; make room, or set GAUNTLET_CACHE to another disk"
        )

    try:
        with open(final.parent / "lock", "w") as lock:
            import fcntl

            fcntl.flock(
                lock, fcntl.LOCK_EX
            )  # a second checkout waits here, then finds the work done
            if not in_cache():
                unpack(final)
    except zipfile.BadZipFile as error:
        fail(f"a wheel arrived damaged ({error}); repeat the command")
    except OSError as error:
        fail(
            f"{final.parent} cannot be written: {error.strerror}; "
            "repeat the command, or set GAUNTLET_CACHE to another folder"
        )
    except KeyboardInterrupt:
        fail("interrupted; repeat the command to go on")


def unpack(final):
    """Downloads and unpacks beside `final`, then renames: a cache is whole or not there."""
    for stale in final.parent.glob("partial-*"):
        shutil.rmtree(stale, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=final.parent))
    try:
        print(
            f"libtorch: fetching {VERSION} (0.55 GB, once) into {final}",
            file=sys.stderr,
            flush=True,
        )
        wheels = partial / "wheels"
        download(wheels)
        for wheel in sorted(wheels.iterdir()):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(partial, [n for n in archive.namelist() if wanted(n)])
            wheel.unlink()
        wheels.rmdir()
        (partial / "complete").touch()
        partial.chmod(0o755)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def main():
    if sys.version_info < (3, 8):
        fail(f"Python {platform.python_version()} is too old; 3.8 or newer is needed")
    folder = from_environment() or from_python() or in_cache()
    if "--check" in sys.argv[1:]:
        print(folder or f"nothing yet; would fetch {VERSION} into {cache_folder()}")
        return
    if folder is None:
        fetch()
        folder = in_cache() or fail(
            f"{cache_folder()} is not usable after fetching; delete it and repeat the command"
        )
    if not (LINK.is_symlink() and LINK.resolve() == folder):
        if LINK.exists() and not LINK.is_symlink():
            fail(f"{LINK} is in the way: it should be a link that this command makes; move it")
        fresh = LINK.with_name(f".libtorch-{os.getpid()}")
        fresh.symlink_to(folder)
        fresh.replace(LINK)
    print(folder)


if __name__ == "__main__":
    main()
