"""What the deployment's tests run: tools from `make deploy-tools` (requirements/deploy.txt), or else from the PATH."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.prefix) / "deploy" / "bin"

Manifest = dict[str, Any]


def tool(name: str) -> str:
    """The tool's path. Without it the test is skipped, and says why; in CI it fails instead."""
    found = shutil.which(name, path=str(TOOLS)) or shutil.which(name)
    if found is not None:
        return found
    reason = f"{name} isn't installed: run `make deploy-tools`"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def run(
    *command: str | Path, text: str | None = None, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """The command's outcome; it runs in the repository's root."""
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60, env=env
    )


@cache
def rendered(kustomization: str) -> str:
    """What `kubectl apply --kustomize` would send, as YAML documents."""
    result = run(tool("kubectl"), "kustomize", ROOT / "deploy" / "k8s" / kustomization)
    assert result.returncode == 0, result.stderr
    return result.stdout


class Manifests:
    """The objects of one kustomization."""

    def __init__(self, kustomization: str) -> None:
        self.name = kustomization
        self.text = rendered(kustomization)
        self.objects: list[Manifest] = list(yaml.safe_load_all(self.text))

    def all(self, kind: str) -> list[Manifest]:
        return [item for item in self.objects if item["kind"] == kind]

    def one(self, kind: str, prefix: str = "headsaw") -> Manifest:
        """The only object of that kind whose name begins with `prefix`."""
        (found,) = [item for item in self.all(kind) if item["metadata"]["name"].startswith(prefix)]
        return found

    @property
    def pod(self) -> Manifest:
        """The pod's spec."""
        spec: Manifest = self.one("Deployment")["spec"]["template"]["spec"]
        return spec

    @property
    def container(self) -> Manifest:
        (container,) = self.pod["containers"]
        return container

    @property
    def environment(self) -> dict[str, str]:
        """The container's variables, as the kubelet would set them."""
        values: dict[str, str] = {}
        for source in self.container["envFrom"]:
            values |= self.one("ConfigMap", source["configMapRef"]["name"])["data"]
        return values | {item["name"]: item["value"] for item in self.container["env"]}
