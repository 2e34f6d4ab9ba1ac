"""aiortc publishes by WHIP and plays by WHEP."""

import asyncio
import contextlib

from case import ClientTest
from peers import Publisher, Viewer
from server import Server


class Aiortc(ClientTest):
    async def publish_and_play(self, codec):
        room = f"aiortc-{codec.lower()}"
        async with contextlib.AsyncExitStack() as stack, asyncio.timeout(90):
            server = await stack.enter_async_context(Server())
            publisher = Publisher()
            stack.push_async_callback(publisher.close)
            await publisher.publish(f"{server.url}/whip/{room}", codec)
            await server.until_live(room)
            viewer = Viewer()
            stack.push_async_callback(viewer.close)
            await viewer.play(f"{server.url}/whep/{room}")

            await self.assert_seen_and_heard(viewer)
            self.assertIn(f" {codec}/90000", viewer.answer)
            self.assertIn("GCM", viewer.srtp_profile())

            self.assertEqual(await viewer.leave(), 200)
            self.assertEqual(await publisher.leave(), 200)
            await server.until_live(room, live=False)

    async def test_h264_and_opus(self):
        await self.publish_and_play("H264")

    async def test_vp8_and_opus(self):
        await self.publish_and_play("VP8")
