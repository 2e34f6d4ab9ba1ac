/** A page that publishes a picture nobody can compress, in three simulcast layers. */

import type { Page } from 'playwright-core';
import { openPage } from '../e2e/browser.ts';
import { type Broadcast, live } from './broadcast.ts';

/** Width and bitrate of each layer, smallest first. */
export const LAYERS = [
  { rid: 'q', width: 320, bitrateBps: 150_000 },
  { rid: 'h', width: 640, bitrateBps: 500_000 },
  { rid: 'f', width: 1_280, bitrateBps: 1_500_000 },
] as const;

/** Publishes into `room` until the page is closed. */
export async function publishSimulcast({ browser, server }: Broadcast, room: string): Promise<Page> {
  const page = await openPage(browser, server.url);
  await page.evaluate(send, { endpoint: `${server.url}/whip/${room}`, layers: LAYERS });
  await live(server, room);
  return page;
}

async function send({ endpoint, layers }: { endpoint: string; layers: typeof LAYERS }): Promise<void> {
  const [width, height] = [1_280, 720];
  const noise = Object.assign(document.createElement('canvas'), { width: 256, height: 256 });
  const pixels = noise.getContext('2d');
  const dots = new ImageData(256, 256);
  for (let place = 0; place < dots.data.length; place += 1) dots.data[place] = (place * 2_654_435_761) >>> 24;
  pixels?.putImageData(dots, 0, 0);
  const canvas = Object.assign(document.createElement('canvas'), { width, height });
  const context = canvas.getContext('2d');
  let step = 0;
  setInterval(() => {
    step += 1;
    context?.fillRect(0, 0, width, height);
    // Patches that jump about: motion search finds nothing, so the encoder takes all the bits that it is given.
    for (let patch = 0; patch < 12; patch += 1) {
      context?.drawImage(
        noise,
        (step * 97 + patch * 311) % width,
        (step * 61 + patch * 173) % height,
        128,
        128,
      );
    }
  }, 33);
  const stream = canvas.captureStream(30);
  const connection = new RTCPeerConnection();
  const [track] = stream.getVideoTracks();
  if (track === undefined) throw new Error('the canvas has no picture');
  connection.addTransceiver(track, {
    direction: 'sendonly',
    streams: [stream],
    sendEncodings: layers.map((layer) => ({
      rid: layer.rid,
      maxBitrate: layer.bitrateBps,
      scaleResolutionDownBy: width / layer.width,
    })),
  });
  await connection.setLocalDescription();
  const answer = await fetch(endpoint, {
    method: 'POST',
    headers: { 'Content-Type': 'application/sdp' },
    body: connection.localDescription?.sdp ?? '',
  });
  if (answer.status !== 201) throw new Error(await answer.text());
  await connection.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
}
