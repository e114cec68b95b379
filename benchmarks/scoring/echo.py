"""What a request costs that nothing is done for: `python -m benchmarks.scoring.echo PORT` gives all the same answer."""

import asyncio
import json
import sys
from typing import cast

import uvloop

BODY = json.dumps(
    {"scores": [0.123456789], "model": {"name": "bench", "version": "0" * 64}, "request_id": "0" * 32}
).encode()
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(BODY)


class Echo(asyncio.Protocol):
    """One connection; a request is what comes at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep where answers go."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of its subclasses

    def data_received(self, data: bytes) -> None:
        """Answer."""
        self._transport.write(HEAD + BODY)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
