from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from small_lake import Lake, configured


@pytest.fixture
async def make_lake() -> AsyncIterator[Callable[..., Lake]]:
    lakes: list[Lake] = []

    def make(*datasets: dict[str, Any], **settings: Any) -> Lake:
        lakes.append(Lake(configured(*datasets, **settings)))
        return lakes[-1]

    yield make
    for lake in lakes:
        await lake.close()


@pytest.fixture
def lake(make_lake: Callable[..., Lake]) -> Lake:
    return make_lake()
