"""Starts the `aforo` binary on free ports, asks it how it is, and ends it."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

BINARY = os.environ.get("AFORO_BIN") or str(Path(__file__).parents[3] / "target/debug/aforo")

# Between two questions of a wait: short beside what is waited for, long beside what a question costs.
POLL_SECONDS = 0.05


class Response:
    """An answer of the server, whatever its status."""

    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers
        self.body = body


async def request(method, url, body=None, headers=None):
    """One HTTP request; every status is an answer. Raises `OSError` when there is none."""

    def blocking():
        data = body.encode() if body is not None else None
        asked = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
        try:
            with urllib.request.urlopen(asked, timeout=10) as answer:
                return Response(answer.status, answer.headers, answer.read().decode())
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Response(refusal.code, refusal.headers, refusal.read().decode())

    return await asyncio.to_thread(blocking)


class Server:
    """A running `aforo dev` with one shard. Use it as `async with Server() as server`."""

    async def __aenter__(self):
        http, admin, udp = (free_port(socket.SOCK_STREAM), free_port(socket.SOCK_STREAM), free_udp_and_tcp_port())
        self.url = f"http://127.0.0.1:{http}"
        self._admin = f"http://127.0.0.1:{admin}"
        self._log = tempfile.TemporaryFile()
        flags = ["--http", f"127.0.0.1:{http}", "--admin", f"127.0.0.1:{admin}", "--udp", str(udp)]
        flags += ["--shards", "1", "--advertise", "127.0.0.1"]
        self._process = await asyncio.create_subprocess_exec(
            BINARY, "dev", *flags, stdin=asyncio.subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )
        try:
            async with asyncio.timeout(30):
                await self._until(self._is_ready)
        except BaseException:
            await self._kill()
            self._log.close()
            raise
        return self

    async def __aexit__(self, kind, error, trace):
        ended_early = self._process.returncode is not None
        try:
            if not ended_early:
                self._process.send_signal(signal.SIGTERM)
                async with asyncio.timeout(30):
                    await self._process.wait()
        finally:
            await self._kill()
            output = self._output()
            self._log.close()
        if error is not None:
            # What the server said beside what the test found missing.
            error.add_note(f"the server's log:\n{output}")
        elif ended_early:
            raise AssertionError(f"the server ended during the test:\n{output}")
        elif "a thread panicked" in output:
            # A part that panics is built anew and its client comes again, which looks as if nothing had been.
            raise AssertionError(f"the server panicked:\n{output}")

    async def until_live(self, room, live=True):
        """Waits until the list of rooms has `room` as live, or has it no more."""

        async def matches():
            rooms = json.loads((await request("GET", f"{self.url}/v1/rooms")).body)["rooms"]
            return live == any(entry["name"] == room and entry["live"] for entry in rooms)

        async with asyncio.timeout(30):
            await self._until(matches)

    async def _until(self, condition):
        while not await condition():
            if self._process.returncode is not None:
                raise AssertionError(f"{BINARY} ended with {self._process.returncode}:\n{self._output()}")
            await asyncio.sleep(POLL_SECONDS)

    async def _is_ready(self):
        with contextlib.suppress(OSError):
            return (await request("GET", f"{self._admin}/readyz")).status == 200
        return False

    async def _kill(self):
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def _output(self):
        self._log.seek(0)
        return self._log.read().decode(errors="replace")


def free_port(kind):
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_udp_and_tcp_port():
    """A port that is free for both: the shard takes media on each."""
    while True:
        port = free_port(socket.SOCK_STREAM)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
