/**
 * VP9 and AV1 in three sizes within one stream, H264 in three rates of pictures, end to end: a viewer chooses among them, and
 * gets what it chose.
 */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  expectMovingPicture,
  expectSound,
  goLive,
  nextSample,
  openPage,
  pageErrors,
  startBrowser,
  waitForState,
  waitUntil,
} from './browser.ts';
import { chooseQuality, FREEZE_MAX_SECONDS } from './quality.ts';
import { type Server, startServer } from './server.ts';

/** What one core encodes in three sizes beside a viewer that decodes them, with the slower of the two codecs. */
const FRAMES_PER_SECOND = 10;

/** Ends a wait for a size that never comes: encoders share the cores with what they encode for. */
const SWITCH_TIMEOUT_MS = 30_000;

/** Counters are reported once a second. */
const COUNTERS_TIMEOUT_MS = 5_000;

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await startServer();
  browser = await startBrowser({ framesPerSecond: FRAMES_PER_SECOND });
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** Waits until the browser says that it decodes pictures of so many lines. */
async function decodes(page: Page, lines: number): Promise<void> {
  await expect.poll(async () => (await nextSample(page)).height, { timeout: SWITCH_TIMEOUT_MS }).toBe(lines);
}

/** Waits until the browser says that it decoded more than `least` pictures within a second, and at most `most`. */
async function showsBetween(page: Page, least: number, most: number): Promise<void> {
  let { framesDecoded } = (await nextSample(page)).counters;
  const rate = async () => {
    const { counters } = await nextSample(page);
    const pictures = counters.framesDecoded - framesDecoded;
    framesDecoded = counters.framesDecoded;
    return pictures > least && pictures <= most;
  };
  await expect.poll(rate, { timeout: SWITCH_TIMEOUT_MS }).toBe(true);
}

/** Sizes that the player offers, best first. */
const offered = (page: Page) =>
  page.evaluate(() => document.querySelector('aforo-player')?.player?.layers.map(({ height }) => height));

/** Waits until the player offers `count` layers. */
const offersLayers = (page: Page, count: number) =>
  page.waitForFunction(
    (wanted) => document.querySelector('aforo-player')?.player?.layers.length === wanted,
    count,
  );

/** What the API says of the layers of the stream's video. */
async function partsOf(room: string): Promise<unknown[]> {
  const response = await fetch(`${server.url}/v1/rooms/${room}`);
  const { streams } = (await response.json()) as {
    streams: Array<{ tracks: Array<{ kind: string; layers: Array<{ parts?: unknown[] }> }> }>;
  };
  const video = streams[0]?.tracks.find(({ kind }) => kind === 'video');
  return video?.layers.flatMap(({ parts = [] }) => parts) ?? [];
}

/** How often viewers changed layers because they asked for it, up or down, by the server's metrics. */
async function switchesByViewers(direction: 'up' | 'down'): Promise<number> {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  const name = `aforo_layer_switches_total{direction="${direction}",reason="viewer"} `;
  const line = metrics.split('\n').find((line) => line.startsWith(name));
  return Number(line?.slice(name.length) ?? 0);
}

test.each(['VP9', 'AV1'] as const)('%s: each size can be chosen, and comes', async (codec) => {
  const room = `scalable-${codec.toLowerCase()}`;
  const publisher = await openPage(browser, `${server.url}/studio/${room}`);
  await goLive(publisher, codec);
  const viewer = await openPage(browser, `${server.url}/watch/${room}`);
  await waitForState(viewer, 'playing');
  await offersLayers(viewer, 3);
  expect(await offered(viewer)).toEqual([720, 360, 180]);
  await decodes(viewer, 720);
  await expectMovingPicture(viewer);
  await expectSound(viewer);
  const before = await nextSample(viewer);
  expect(before.videoCodec).toBe(codec);
  const [up, down] = [await switchesByViewers('up'), await switchesByViewers('down')];
  const choices = [
    ['180p', 180],
    ['360p', 360],
    ['180p', 180],
    ['720p', 720],
    ['360p', 360],
    ['Auto', 720],
  ] as const;
  for (const [choice, lines] of choices) {
    await chooseQuality(viewer, choice);
    await decodes(viewer, lines);
    await expectMovingPicture(viewer);
  }
  const after = await nextSample(viewer);
  expect(after.counters.framesDecoded).toBeGreaterThan(before.counters.framesDecoded);
  expect((after.freezeSeconds ?? 0) - (before.freezeSeconds ?? 0)).toBeLessThan(FREEZE_MAX_SECONDS);
  expect(await partsOf(room)).toHaveLength(9);
  const switches = async () => [
    (await switchesByViewers('up')) - up,
    (await switchesByViewers('down')) - down,
  ];
  await expect.poll(switches, { timeout: COUNTERS_TIMEOUT_MS }).toEqual([3, 3]);
  expect([publisher, viewer].flatMap(pageErrors)).toEqual([]);
  await Promise.all(browser.contexts().map((context) => context.close()));
});

test('AV1: a viewer that asks for no descriptors sees the smallest size', async () => {
  const publisher = await openPage(browser, `${server.url}/studio/plain`);
  await goLive(publisher, 'AV1');
  const viewer = await openPage(browser, server.url);
  await viewer.evaluate(playPlainly, `${server.url}/whep/plain`);
  await waitUntil(viewer, showsLines, 180);
  await Promise.all(browser.contexts().map((context) => context.close()));
});

test('H264: each rate of pictures can be chosen, and comes', async () => {
  const publisher = await openPage(browser, server.url);
  await publisher.evaluate(publishRates, `${server.url}/whip/rates`);
  const viewer = await openPage(browser, `${server.url}/watch/rates`);
  await waitForState(viewer, 'playing');
  await offersLayers(viewer, 3);
  expect(await partsOf('rates')).toHaveLength(3);
  for (const [choice, least, most] of [
    ['Least smooth', 1, FRAMES_PER_SECOND / 4 + 1],
    ['Less smooth', FRAMES_PER_SECOND / 4 + 1, FRAMES_PER_SECOND / 2 + 2],
    ['Smooth', FRAMES_PER_SECOND / 2 + 2, FRAMES_PER_SECOND * 2],
  ] as const) {
    await chooseQuality(viewer, choice);
    await showsBetween(viewer, least, most);
    await expectMovingPicture(viewer);
  }
  expect([publisher, viewer].flatMap(pageErrors)).toEqual([]);
  await Promise.all(browser.contexts().map((context) => context.close()));
});

/** Whether a plain page has decoded a second or more of pictures with so many lines. Runs in the page. */
async function showsLines(lines: number): Promise<boolean> {
  const { connection } = window as unknown as { connection: RTCPeerConnection };
  const received = [...(await connection.getStats()).values()].find(({ type }) => type === 'inbound-rtp');
  return received?.frameHeight === lines && received.framesDecoded > 30;
}

/** Publishes the camera in three temporal layers of H264, as an application with encodings of its own does. Runs in the page. */
async function publishRates(endpoint: string): Promise<void> {
  const stream = await navigator.mediaDevices.getUserMedia({ video: true });
  const connection = new RTCPeerConnection();
  const encoding: RTCRtpEncodingParameters & { scalabilityMode: string } = { scalabilityMode: 'L1T3' };
  const [track] = stream.getVideoTracks();
  if (track === undefined) throw new Error('the camera has no picture');
  const video = connection.addTransceiver(track, {
    direction: 'sendonly',
    streams: [stream],
    sendEncodings: [encoding],
  });
  const codecs = RTCRtpSender.getCapabilities('video')?.codecs ?? [];
  video.setCodecPreferences(codecs.filter(({ mimeType }) => mimeType === 'video/H264'));
  await connection.setLocalDescription();
  const { sdp = '' } = connection.localDescription ?? {};
  const headers = { 'Content-Type': 'application/sdp' };
  const answer = await fetch(endpoint, { method: 'POST', headers, body: sdp });
  if (answer.status !== 201) throw new Error(await answer.text());
  await connection.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
}

/** Plays a video as a page does that knows nothing of us. */
async function playPlainly(endpoint: string): Promise<void> {
  const connection = new RTCPeerConnection();
  connection.addTransceiver('video', { direction: 'recvonly' });
  const video = Object.assign(document.createElement('video'), { autoplay: true, muted: true });
  connection.addEventListener('track', ({ track }) => {
    video.srcObject = new MediaStream([track]);
  });
  document.body.append(video);
  await connection.setLocalDescription();
  const { sdp = '' } = connection.localDescription ?? {};
  const headers = { 'Content-Type': 'application/sdp' };
  const answer = await fetch(endpoint, { method: 'POST', headers, body: sdp });
  if (answer.status !== 201) throw new Error(await answer.text());
  await connection.setRemoteDescription({ type: 'answer', sdp: await answer.text() });
  Object.assign(window, { connection });
}
