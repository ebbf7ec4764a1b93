"""A stand-in for a database, in a process of its own: it answers each byte after a millisecond.

For `benchmarks.threads`, which starts it.

python -m benchmarks.database SOCKET
"""

from __future__ import annotations

import asyncio
import sys

ANSWER_S = 0.001


class Database(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(ANSWER_S, self._transport.write, data)


async def serve(path: str) -> None:
    server = await asyncio.get_running_loop().create_unix_server(Database, path)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
