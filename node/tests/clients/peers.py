"""A publisher and a viewer made of aiortc, an implementation of WebRTC that shares no code with browsers."""

import array
import asyncio
import contextlib
import math

import aioice.ice
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer
from aiortc.mediastreams import MediaStreamError

from server import request

# aioice leaves loopback out, and the server under test is nowhere else.
aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"] if use_ipv4 else []

# A moving picture and a tone, made as long as they are asked for.
SOURCE = "testsrc2=size=320x240:rate=30[out0];sine=frequency=440:sample_rate=48000[out1]"


class _Session:
    """One WHIP or WHEP session, from the POST to the DELETE."""

    def __init__(self):
        self.connection = RTCPeerConnection()
        self._location = None

    async def _negotiate(self, endpoint):
        await self.connection.setLocalDescription(await self.connection.createOffer())
        offer = self.connection.localDescription.sdp
        answer = await request("POST", endpoint, offer, {"Content-Type": "application/sdp"})
        if answer.status != 201:
            raise AssertionError(f"POST {endpoint}: {answer.status} {answer.body}\n{offer}")
        self._location = answer.headers["Location"]
        self.answer = answer.body
        await self.connection.setRemoteDescription(RTCSessionDescription(sdp=answer.body, type="answer"))

    async def leave(self):
        """Ends the session by DELETE and returns the status."""
        location, self._location = self._location, None
        return (await request("DELETE", location)).status

    async def close(self):
        """Frees what the session holds, whatever became of it."""
        if self._location is not None:
            await self.leave()
        await self.connection.close()


class Publisher(_Session):
    """Sends a moving picture in the video codec of this name, and a tone in Opus."""

    def __init__(self):
        super().__init__()
        self._source = MediaPlayer(SOURCE, format="lavfi")

    async def publish(self, url, codec):
        self.connection.addTrack(self._source.audio)
        self.connection.addTrack(self._source.video)
        wanted = [
            entry
            for entry in RTCRtpSender.getCapabilities("video").codecs
            if entry.mimeType.lower() == f"video/{codec}".lower()
        ]
        for transceiver in self.connection.getTransceivers():
            transceiver.direction = "sendonly"
            if transceiver.kind == "video":
                transceiver.setCodecPreferences(wanted)
        await self._negotiate(url)

    async def close(self):
        self._source.audio.stop()
        self._source.video.stop()
        await super().close()


class Viewer(_Session):
    """Receives and decodes a stream, and keeps what a judgement needs: never the frames themselves."""

    def __init__(self):
        super().__init__()
        self.frames = 0
        self.pictures = set()
        self.loudness = 0.0
        self._changed = asyncio.Condition()
        self._readers = []
        self.connection.on("track", self._read)

    async def play(self, url):
        for kind in ("audio", "video"):
            self.connection.addTransceiver(kind, direction="recvonly")
        await self._negotiate(url)

    async def until(self, condition):
        """Waits until `condition` holds, asked after every decoded frame; a reader that failed fails the wait."""
        async with asyncio.timeout(45), self._changed:
            while not condition():
                for reader in self._readers:
                    if reader.done():
                        await reader
                await self._changed.wait()

    def srtp_profile(self):
        """The name of the protection that DTLS agreed on."""
        connection = self.connection.getReceivers()[0].transport._ssl
        return connection.get_selected_srtp_profile().decode()

    async def close(self):
        await super().close()
        for reader in self._readers:
            reader.cancel()
        for reader in self._readers:
            with contextlib.suppress(asyncio.CancelledError, MediaStreamError):
                await reader

    def _read(self, track):
        self._readers.append(asyncio.create_task(self._read_on(track)))

    async def _read_on(self, track):
        while True:
            frame = await track.recv()
            async with self._changed:
                if track.kind == "video":
                    self.frames += 1
                    self.pictures.add(hash(bytes(frame.planes[0])))
                else:
                    self.loudness = loudness(frame)
                self._changed.notify_all()


def loudness(frame):
    """The root mean square of a 16-bit audio frame, 0 to 1."""
    samples = array.array("h", bytes(frame.planes[0]))
    return math.sqrt(sum(sample * sample for sample in samples) / max(1, len(samples))) / 32768
