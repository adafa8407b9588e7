"""One stack with the real engine for all end-to-end tests: it takes a minute to start."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder: Path = tmp_path_factory.mktemp("stack")
    with running_stack(folder) as running:
        yield running
