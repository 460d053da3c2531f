"""The image's recipe: linted, small in what it reads, and in agreement with the package and the manifests."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from rendering import ROOT, Manifests, run, tool

DOCKERFILE = (ROOT / "Dockerfile").read_text()
SCRIPTS = [*sorted((ROOT / "deploy" / "image").glob("*.sh")), ROOT / "native" / "lock.sh"]


def instructions(stage: str = DOCKERFILE) -> list[tuple[str, str]]:
    """Each instruction's word and argument, with continued lines joined and comments dropped."""
    lines = "\n".join(line for line in stage.splitlines() if not line.lstrip().startswith("#"))
    joined = lines.replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in joined.splitlines() if line.strip()]


def final_stage() -> list[tuple[str, str]]:
    return instructions(DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :])


def argument(word: str) -> str:
    """The last argument of that instruction in the final stage."""
    return [text for found, text in final_stage() if found == word][-1]


def test_hadolint_finds_nothing() -> None:
    result = run(tool("hadolint"), "--failure-threshold", "style", ROOT / "Dockerfile")
    assert (result.returncode, result.stdout) == (0, "")


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    result = run(tool("shellcheck"), script)
    assert (result.returncode, result.stdout) == (0, "")


def test_there_are_scripts_to_check() -> None:
    assert SCRIPTS


def test_the_worker_is_process_1() -> None:
    """The exec form: no shell stands between the kubelet's SIGTERM and the worker."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert json.loads(argument("ENTRYPOINT")) == list(scripts)


def test_the_pod_starts_what_the_image_starts() -> None:
    container = Manifests("base").container
    assert json.loads(argument("CMD")) == container["args"]
    assert "command" not in container


def test_the_user_is_a_number_that_the_pod_asks_for() -> None:
    """With a number, and not a name, the kubelet can verify runAsNonRoot."""
    security = Manifests("base").pod["securityContext"]
    assert argument("USER") == f"{security['runAsUser']}:{security['runAsGroup']}"


def test_the_exposed_port_is_the_pods() -> None:
    (port,) = Manifests("base").container["ports"]
    assert argument("EXPOSE") == str(port["containerPort"])


def test_every_stage_starts_from_the_one_base_image_or_from_another_stage() -> None:
    """But the native parser's, whose base is of the same Debian release."""
    bases = [text.split() for word, text in instructions() if word == "FROM"]
    names = {parts[-1] for parts in bases if "AS" in parts}
    others = [parts for parts in bases if parts[0] != "${PYTHON_IMAGE}" and parts[0] not in names]
    assert others == [["${RUST_IMAGE}", "AS", "native"]]
    python, rust = (text for word, text in instructions() if word == "ARG")
    assert python.rpartition("-")[2] == rust.rpartition("-")[2] == "trixie"


def test_the_native_parser_is_built_of_locked_crates_with_a_compiler_that_is_new_enough() -> None:
    (build,) = [text for word, text in instructions() if word == "RUN" and "maturin build" in text]
    assert "lock.sh restore" in build
    assert " --locked " in build
    needed = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["package"]["rust-version"]
    (given,) = re.findall(r"RUST_IMAGE=rust:(\d+\.\d+)-", DOCKERFILE)
    assert [int(part) for part in given.split(".")] >= [int(part) for part in needed.split(".")]


def test_the_locked_crates_are_those_that_are_asked_for_and_name_no_registry() -> None:
    locked = (ROOT / "native" / "locked.toml").read_text()
    crates = {crate["name"]: crate for crate in tomllib.loads(locked)["package"]}
    wanted = tomllib.loads((ROOT / "native" / "Cargo.toml").read_text())["dependencies"]
    pins = {name: (value if isinstance(value, str) else value["version"]) for name, value in wanted.items()}
    assert {name: f"={crates[name]['version']}" for name in pins} == pins
    assert all(len(crate["checksum"]) == 64 for name, crate in crates.items() if name != "headsaw-native")
    assert "://" not in locked


def test_the_final_stage_takes_nothing_but_results_from_the_others() -> None:
    """No installer runs there, and no file of the source tree enters it."""
    copies = [text for word, text in final_stage() if word == "COPY"]
    assert copies
    assert all(text.startswith("--from=") for text in copies)
    assert not any("pip " in text for word, text in final_stage() if word == "RUN")


def test_packages_are_installed_by_hash_only() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install ([^&]*)", " ".join(text for _, text in instructions()))
    assert installs
    assert all("--require-hashes" in text or "--no-index" in text for text in installs)


def test_the_build_sees_exactly_what_it_copies() -> None:
    ignored, *patterns = [
        line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")
    ]
    allowed = {line.removeprefix("!") for line in patterns if line.startswith("!")}
    sources = {
        source
        for word, text in instructions()
        if word == "COPY" and not text.startswith("--from=")
        for source in text.split()[:-1]
    }
    assert ignored == "*"
    assert allowed == sources
    assert all((ROOT / source).exists() for source in sources)


def test_the_build_backend_is_locked() -> None:
    """The wheel is built without isolation, so the lock must bring what pyproject.toml asks for."""
    (required,) = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    name = re.match(r"[a-z]+", required)
    assert name is not None
    assert f"\n{name[0]}==" in "\n" + (ROOT / "requirements" / "deploy-build.txt").read_text()


@pytest.mark.parametrize("lock", ["deploy.txt", "deploy-build.txt", "native-build.txt"])
def test_the_locks_hold_hashes_and_no_index_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    pinned = re.findall(r"^[a-z].*?==.*(?:\n    --hash=sha256:[0-9a-f]{64}.*)+", text, re.MULTILINE)
    assert len(pinned) == len(re.findall(r"^[a-z0-9-]+==", text, re.MULTILINE)) > 0
    assert "://" not in text
