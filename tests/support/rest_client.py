"""A request of a REST client, as starlette hands it to a route."""

from collections.abc import AsyncIterator


class Client:
    """A request with a body; the client hangs up after `stays` looks."""

    def __init__(self, body: bytes, stays: int = 1000) -> None:
        self.body, self.stays = body, stays

    async def stream(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1000):
            yield self.body[start : start + 1000]

    async def is_disconnected(self) -> bool:
        self.stays -= 1
        return self.stays < 0
