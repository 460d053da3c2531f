"""`make spark-dist`: what Glue and EMR need of Headsaw, in one folder.

    job.py                    the script that both are given
    headsaw.gluewheels.zip    Glue 5: all wheels, for `--additional-python-modules` with `--no-index`
    environment.tar.gz        EMR 7: a Python of its own with everything in it, for `spark.archives`
    *.whl                     the wheels of this repository alone

Everything is for Linux on x86-64 with the glibc of Amazon Linux 2023, and for Python 3.11, which Glue 5 runs.
Dependencies are those of requirements/run.txt, by their hashes. Spark itself, and pyspark, are the engines' own.
"""
# ruff: noqa: INP001, S603, T201 - a script that runs the pip and the Python it is told to, and tells people what it did

import argparse
import gzip
import io
import json
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
PYTHON_VERSION = "3.11"
GLIBC = (2, 34)
"""Of Amazon Linux 2023, on which Glue 5 and EMR 7 run."""
PLATFORMS = ("manylinux_2_34_x86_64", "manylinux_2_28_x86_64", "manylinux_2_17_x86_64", "manylinux2014_x86_64")
NOT_NEEDED = (
    *("test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "__pycache__", "site-packages"),
    *("config-*", "*.a", "_test*", "_tkinter*", "_crypt*"),
)
"""Of the standard library: what no job imports."""
ARROW_NOT_NEEDED = ("include", "src", "tests", "*_flight*")
SYSTEM_LIBRARIES = re.compile(r"(ld-linux|lib(c|m|dl|rt|util|pthread|resolv|nsl|gcc_s|stdc\+\+)\.so)")
"""Never brought along: they belong to the system's C library or compiler."""

LAUNCHER = """#!/bin/sh
here=$(cd "$(dirname "$0")" && pwd)
export LD_LIBRARY_PATH="$here/../lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
exec "$here/pythonVERSION" "$@"
""".replace("VERSION", PYTHON_VERSION)
"""Finds the libraries that came along, wherever the archive was unpacked."""


@dataclass(frozen=True)
class Interpreter:
    """The Python that goes into the archive."""

    executable: Path
    standard_library: Path
    version: str

    @classmethod
    def ask(cls, python: str) -> "Interpreter":
        """What that command is."""
        script = (
            "import json, os, sys, sysconfig; base = getattr(sys, '_base_executable', sys.executable); "
            "print(json.dumps([os.path.realpath(base), sysconfig.get_path('stdlib'), '%d.%d' % sys.version_info[:2]]))"
        )
        told = json.loads(subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout)
        return cls(Path(told[0]), Path(told[1]), told[2])


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pip", default=sys.executable, help="a Python that has pip")
    parser.add_argument("--python", default=sys.executable, help=f"the Python {PYTHON_VERSION} of EMR's archive")
    parser.add_argument("--cache", type=Path, required=True, help="where downloaded wheels are kept")
    parser.add_argument("--requirements", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True, help="a folder that has this repository's wheels")
    options = parser.parse_args()
    output: Path = options.output
    own = sorted(output.glob("*.whl"))
    wheels = [*own, *download(options.pip, options.requirements, options.cache)]
    shutil.copyfile(HERE / "job.py", output / "job.py")
    glue_zip(output / "headsaw.gluewheels.zip", wheels)
    notes, late = list(native_notes(own)), list[str]()
    python = Interpreter.ask(options.python)
    archive = output / "environment.tar.gz"
    archive.unlink(missing_ok=True)
    if python.version == PYTHON_VERSION:
        folder = output / "environment"
        make_environment(folder, python, options.pip, wheels)
        late = list(glibc_notes(folder))
        pack(folder, archive)
        shutil.rmtree(folder)
    else:
        notes.append(
            f"no environment.tar.gz: {options.python} is Python {python.version}, and the wheels are for "
            f"{PYTHON_VERSION}; give one with make spark-dist SPARK_DIST_PYTHON=..."
        )
    tell(output, [*notes, *late], fit_for_emr=not late)
    return 0


def download(pip: str, requirements: Path, cache: Path) -> list[Path]:
    """The wheels of the locked dependencies, for the engines' Python and system."""
    cache.mkdir(parents=True, exist_ok=True)
    for stale in cache.glob("*.whl"):  # of an older lock; what is still right comes from pip's own cache
        stale.unlink()
    where = [part for platform in PLATFORMS for part in ("--platform", platform)]
    abi = [part for name in ("cp311", "abi3", "none") for part in ("--abi", name)]
    command = [pip, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    version = ["--python-version", PYTHON_VERSION, "--implementation", "cp", "--only-binary=:all:"]
    subprocess.run([*command, *version, *where, *abi, "-r", str(requirements), "-d", str(cache)], check=True)
    return sorted(cache.glob("*.whl"))


def glue_zip(path: Path, wheels: Iterable[Path]) -> None:
    """A zip of wheels as Glue's documentation describes it: a folder `wheels` with a requirements.txt in it."""
    pinned = "".join(f"{name}=={version}\n" for name, version, *_ in (wheel.name.split("-") for wheel in wheels))
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo("wheels/requirements.txt"), pinned)
        for wheel in wheels:
            archive.write(wheel, f"wheels/{wheel.name}")


def make_environment(folder: Path, python: Interpreter, pip: str, wheels: list[Path]) -> None:
    """A folder that is a whole Python with all wheels installed, wherever it is moved to."""
    shutil.rmtree(folder, ignore_errors=True)
    library = folder / "lib" / f"python{PYTHON_VERSION}"
    shutil.copytree(python.standard_library, library, ignore=shutil.ignore_patterns(*NOT_NEEDED), symlinks=True)
    (folder / "bin").mkdir()
    shutil.copy(python.executable, folder / "bin" / f"python{PYTHON_VERSION}")
    for name in ("python", "python3"):
        (folder / "bin" / name).write_text(LAUNCHER)
        (folder / "bin" / name).chmod(0o755)
    for needed in libraries([python.executable, *library.glob("lib-dynload/*.so")]):
        shutil.copy(needed, folder / "lib" / needed.name)
    packages = library / "site-packages"
    command = [pip, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]
    command.append("--root-user-action=ignore")
    where = [part for platform in PLATFORMS for part in ("--platform", platform)]
    version = ["--python-version", PYTHON_VERSION, "--only-binary=:all:", "--no-compile", "--target", str(packages)]
    subprocess.run([*command, *where, *version, *map(str, wheels)], check=True)
    for pattern in ARROW_NOT_NEEDED:
        for path in (packages / "pyarrow").glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def libraries(binaries: Iterable[Path]) -> set[Path]:
    """The shared libraries that these need, but for the system's own."""
    needed = set()
    for binary in binaries:
        shown = subprocess.run(["ldd", str(binary)], capture_output=True, text=True, check=False).stdout  # noqa: S607
        for name, path in re.findall(r"(\S+) => (/\S+)", shown):
            if not SYSTEM_LIBRARIES.match(name):
                needed.add(Path(path).parent / name)
    return needed


def pack(folder: Path, path: Path) -> None:
    """The folder's content as tar.gz, the same bytes for the same content."""

    def anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        return entry

    with path.open("wb") as file, gzip.GzipFile("", "wb", 2, file, mtime=0) as packed:
        buffered = io.BufferedWriter(packed, 1 << 20)  # type: ignore[type-var]
        with tarfile.open(fileobj=buffered, mode="w") as archive:
            for entry in sorted(folder.iterdir()):
                archive.add(entry, entry.name, filter=anonymous)
        buffered.flush()


def native_notes(own: list[Path]) -> Iterator[str]:
    """What is to be said about the native parser's wheel."""
    native = [wheel for wheel in own if wheel.name.startswith("headsaw_native-")]
    if not native:
        yield "without the native parser, which wasn't built (see `make native`): runs use the reference parser, slower"
    for wheel in native:
        found = re.search(r"manylinux_(\d+)_(\d+)", wheel.name)
        if found is None or (int(found[1]), int(found[2])) > GLIBC:
            yield f"{wheel.name} was built on a system newer than Amazon Linux 2023 and may not load there"


def glibc_notes(folder: Path) -> Iterator[str]:
    """Which files ask for a newer C library than the engines have."""
    newest = {path: needs_glibc(path) for path in folder.rglob("*") if is_binary(path)}
    late = sorted(str(path.relative_to(folder)) for path, needs in newest.items() if needs > GLIBC)
    if late:
        needs, has = (".".join(map(str, version)) for version in (max(newest.values()), GLIBC))
        yield (
            f"environment.tar.gz: not for EMR. {len(late)} files of {len(newest)} need glibc {needs}, and Amazon Linux "
            f"2023 has {has}: {', '.join(late[:4])}. Give a Python that was built for older systems, such as uv's: "
            'make spark-dist SPARK_DIST_PYTHON="$(uv python find --managed-python 3.11)"'
        )


def is_binary(path: Path) -> bool:
    """Whether it is an ELF file."""
    if not path.is_file() or path.is_symlink():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"\x7fELF"


def needs_glibc(path: Path) -> tuple[int, int]:
    """The newest version of the C library whose symbols it names."""
    return max(((int(a), int(b)) for a, b in re.findall(rb"GLIBC_(\d+)\.(\d+)", path.read_bytes())), default=(0, 0))


def tell(output: Path, notes: Iterable[str], *, fit_for_emr: bool) -> None:
    """What was made, what is wrong with it, and how it gets to where the engines find it."""
    made = sorted(path for path in output.iterdir() if path.is_file())
    for path in made:
        print(f"  {path.stat().st_size / 1e6:8.1f} MB  {path}")
    for note in notes:
        print(f"note: {note}")
    print("\nUpload it (docs/spark.md has the job definitions):\n")
    for name in ("job.py", "headsaw.gluewheels.zip", *(["environment.tar.gz"] if fit_for_emr else [])):
        if (output / name).exists():
            print(f"  aws s3 cp {output / name} s3://lake-code/headsaw/{name}")


if __name__ == "__main__":
    sys.exit(main())
