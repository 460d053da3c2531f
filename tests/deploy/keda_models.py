"""Run by the deployment tools' interpreter: reads objects as JSON, prints every way in which KEDA's models refuse them.

The models ignore a field that they don't know. So an object is also written back and compared: what a model dropped or
changed, the API server would drop or refuse.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

from cloudcoil.models.keda import v1alpha1


def refusals(item: dict[str, Any]) -> Iterator[str]:
    name = f"{item.get('kind')}/{item.get('metadata', {}).get('name')}"
    model = getattr(v1alpha1, str(item.get("kind")), None)
    if item.get("apiVersion") != "keda.sh/v1alpha1" or model is None:
        yield f"{name}: KEDA has no such kind in {item.get('apiVersion')}"
        return
    try:
        written = model.model_validate(item).model_dump(mode="json", by_alias=True, exclude_unset=True)
    except ValueError as error:
        yield f"{name}: {error}"
        return
    yield from differences(name, item, written)


def differences(path: str, ours: object, theirs: object) -> Iterator[str]:
    match ours, theirs:
        case dict(), dict():
            for key, value in ours.items():
                if key in theirs:
                    yield from differences(f"{path}.{key}", value, theirs[key])
                else:
                    yield f"{path}.{key}: unknown field"
        case list(), list() if len(ours) == len(theirs):
            for index, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
                yield from differences(f"{path}[{index}]", mine, other)
        case _:
            if ours != theirs:
                yield f"{path}: {ours!r} would be read as {theirs!r}"


if __name__ == "__main__":
    json.dump([line for item in json.load(sys.stdin) for line in refusals(item)], sys.stdout)
