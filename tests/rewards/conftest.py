"""What several tests of judges start from."""

from collections.abc import Iterator

import pytest
from chat_server import Endpoint
from judging import verdict


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    """It answers every question with a 4."""
    served = Endpoint()
    served.script = lambda _: verdict()
    yield served
    served.close()
