"""A load generator for one core: ready requests over kept connections, as plain sockets; prints what it saw as JSON.

    python -m benchmarks.scoring.load PORT PATH MEDIA BODIES CONCURRENCY SECONDS

BODIES holds the requests' bodies, each behind its length in 8 bytes. They are sent in turn, so that none comes again
before all others have.
"""

import itertools
import json
import select
import socket
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

LENGTH = struct.Struct("<Q")
END = b"\r\n\r\n"


def write_bodies(path: Path, bodies: list[bytes]) -> Path:
    """Keep bodies in a file."""
    path.write_bytes(b"".join(LENGTH.pack(len(body)) + body for body in bodies))
    return path


def read_bodies(path: Path) -> list[bytes]:
    """The bodies of a file."""
    content, place, bodies = path.read_bytes(), 0, []
    while place < len(content):
        start = place + LENGTH.size
        place = start + LENGTH.unpack_from(content, place)[0]
        bodies.append(content[start:place])
    return bodies


def request_of(body: bytes, path: str, media: str) -> bytes:
    """The bytes of a POST request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Connection:
    """A kept connection with one request on its way."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._answer = b""

    def send(self, request: bytes) -> None:
        """Send the next request."""
        self._answer = b""
        self.socket.sendall(request)

    def receive(self) -> int | None:
        """Read what has come; the status once the answer is whole."""
        part = self.socket.recv(1 << 20)
        if not part:
            raise ConnectionError("the server closed the connection")
        self._answer += part
        head = self._answer.find(END)
        if head < 0:
            return None
        lengths = self._answer[:head].lower().partition(b"content-length:")[2].split(b"\r\n", 1)
        if len(self._answer) < head + len(END) + int(lengths[0]):
            return None
        return int(self._answer[9:12])


def run(port: int, requests: Iterator[bytes], concurrency: int, seconds: float) -> dict[str, float]:
    """Send requests for so long; how many were answered with 200 and otherwise, and the latencies' p50 and p99 (us)."""
    connections = {c.socket.fileno(): c for c in (Connection(port) for _ in range(concurrency))}
    poll = select.epoll()
    sent: dict[int, float] = {}
    for number, connection in connections.items():
        poll.register(number, select.EPOLLIN)
        sent[number] = time.perf_counter()
        connection.send(next(requests))
    latencies: list[float] = []
    failed = 0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for number, _ in poll.poll(1.0):
            status = connections[number].receive()
            if status is None:
                continue
            now = time.perf_counter()
            latencies.append(now - sent[number])
            failed += status != 200
            sent[number] = now
            connections[number].send(next(requests))
    took = time.perf_counter() - began
    poll.close()
    for connection in connections.values():
        connection.socket.close()
    latencies.sort()
    p50, p99 = (latencies[int(len(latencies) * share)] * 1e6 for share in (0.5, 0.99))
    return {"answered": len(latencies) - failed, "failed": failed, "seconds": took, "p50_us": p50, "p99_us": p99}


def main() -> None:
    """Send what the command line says."""
    port, path, media, bodies, concurrency, seconds = sys.argv[1:]
    requests = [request_of(body, path, media) for body in read_bodies(Path(bodies))]
    print(json.dumps(run(int(port), itertools.cycle(requests), int(concurrency), float(seconds))))


if __name__ == "__main__":
    main()
