"""What all tests of real clients have in common: when a stream counts as seen and heard."""

import asyncio
import unittest

# Two seconds of picture: more than the first keyframe and what comes with it.
FRAMES = 60
# lavfi's `sine` has 0.09 of full scale; silence and comfort noise stay below 0.001.
AUDIBLE = 0.02


class ClientTest(unittest.IsolatedAsyncioTestCase):
    """A test in which a real client meets the real server."""

    async def asyncSetUp(self):
        # The test case's debug mode reports every callback over 100 ms, which encoders on few cores often take.
        asyncio.get_running_loop().set_debug(False)

    async def assert_seen_and_heard(self, viewer):
        """Waits until `viewer` decoded a moving picture and a sound."""
        await viewer.until(lambda: viewer.frames >= FRAMES and viewer.loudness > AUDIBLE)
        self.assertGreater(len(viewer.pictures), FRAMES / 2, "the picture moves")
