"""The rendered kustomizations, and KEDA's own definitions, as fixtures."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from rendering import Manifest, Manifests, run, tool


@pytest.fixture(params=["base", "hpa", "example"])
def manifests(request: pytest.FixtureRequest) -> Manifests:
    return Manifests(request.param)


@pytest.fixture(params=["base", "example"])
def keda(request: pytest.FixtureRequest) -> Manifests:
    """The kustomizations that scale with KEDA."""
    return Manifests(request.param)


@pytest.fixture
def keda_refusals() -> Callable[[list[Manifest]], list[str]]:
    """Validates KEDA's objects against its own definitions."""
    interpreter = str(Path(tool("cloudcoil-model-codegen")).with_name("python"))

    def refusals(objects: list[Manifest]) -> list[str]:
        result = run(interpreter, Path(__file__).with_name("keda_models.py"), text=json.dumps(objects))
        assert result.returncode == 0, result.stderr
        lines: list[str] = json.loads(result.stdout)
        return lines

    return refusals
