"""FFmpeg 9 publishes with its `whip` muxer; an aiortc viewer decodes what arrives."""

import asyncio
import contextlib
import tempfile

import imageio_ffmpeg

from case import ClientTest
from peers import Viewer
from server import Server

ROOM = "ffmpeg"
# Half of what is left until the next keyframe when it counts.
WITHOUT_KEYFRAME_SECONDS = 3


@contextlib.asynccontextmanager
async def ffmpeg(*arguments):
    """The FFmpeg that PyPI's imageio-ffmpeg brings, killed at the end if it is still there."""
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "warning", *arguments]
    with tempfile.TemporaryFile() as log:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=log, stderr=log
        )
        try:
            yield process
        except BaseException as error:
            log.seek(0)
            error.add_note(f"ffmpeg's log:\n{log.read().decode(errors='replace')}")
            raise
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


class Ffmpeg(ClientTest):
    def test_is_the_ninth(self):
        self.assertRegex(imageio_ffmpeg.get_ffmpeg_version(), r"^n?9\.")

    async def publishes(self, *flags):
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(90):
            server = await stack.enter_async_context(Server())
            source = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x240:rate=30"]
            source += ["-re", "-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"]
            video = ["-c:v", "libx264", "-profile:v", "baseline", "-preset", "ultrafast"]
            # It does not answer keyframe requests, and its next one comes after 250 pictures.
            video += ["-pix_fmt", "yuv420p", "-tune", "zerolatency"]
            audio = ["-c:a", "libopus", "-ac", "2"]
            publisher = await stack.enter_async_context(
                ffmpeg(*source, *video, *audio, "-f", "whip", *flags, f"{server.url}/whip/{ROOM}")
            )
            await server.until_live(ROOM)
            viewer = Viewer()
            stack.push_async_callback(viewer.close)
            await viewer.play(f"{server.url}/whep/{ROOM}")
            await self.assert_seen_and_heard(viewer)

            # Two seconds of the first group have passed: the next keyframe is six away.
            late = Viewer()
            stack.push_async_callback(late.close)
            async with asyncio.timeout(WITHOUT_KEYFRAME_SECONDS):
                await late.play(f"{server.url}/whep/{ROOM}")
                await late.until(lambda: late.frames > 0)
            await self.assert_seen_and_heard(late)

            # `q` is how a person ends it; it says goodbye by DELETE.
            await publisher.communicate(b"q")
            self.assertEqual(publisher.returncode, 0)
            await server.until_live(ROOM, live=False)

    async def test_as_dtls_server(self):
        await self.publishes()

    async def test_as_dtls_client(self):
        await self.publishes("-whip_flags", "dtls_active")
