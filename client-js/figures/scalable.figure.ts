/** A scalable stream with one viewer of its best picture: how much of what the publisher sends that viewer is sent. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { goLive, nextSample, openPage, startBrowser, waitForState } from '../e2e/browser.ts';
import { type Server, startServer } from '../e2e/server.ts';
import { printFigure } from './table.ts';

/** What one core encodes in three sizes beside a viewer that decodes them, with the slower of the two codecs. */
const FRAMES_PER_SECOND = 10;

/** Until the encoder's rate control has settled. */
const SETTLING_SECONDS = 15;
const SECONDS = 40;

/** The lower sizes have a fifth or more of the whole. */
const SHARE_BOUND_PERCENT = 85;

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

/** Bytes of pictures so far that the server got and sent. */
async function bytes(codec: string): Promise<[number, number]> {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  const of = (direction: string) => {
    const labels = [`direction="${direction}"`, 'kind="video"', `codec="${codec}"`];
    const lines = metrics.split('\n').filter((line) => line.startsWith('aforo_rtp_bytes_total{'));
    const line = lines.find((line) => labels.every((label) => line.includes(label)));
    return Number(line?.split(' ').at(-1) ?? 0);
  };
  return [of('received'), of('sent')];
}

test.each(['VP9', 'AV1'] as const)('%s: what a viewer of the best picture is sent', async (codec) => {
  const room = `lean-${codec.toLowerCase()}`;
  const publisher = await openPage(browser, `${server.url}/studio/${room}`);
  await goLive(publisher, codec);
  const viewer = await openPage(browser, `${server.url}/watch/${room}`);
  await waitForState(viewer, 'playing');
  const seconds = async (count: number) => {
    for (let passed = 0; passed < count; passed += 1) await nextSample(viewer);
  };
  await seconds(SETTLING_SECONDS);
  const before = await bytes(codec.toLowerCase());
  await seconds(SECONDS);
  const after = await bytes(codec.toLowerCase());
  const sample = await nextSample(viewer);
  expect(sample.height).toBe(720);
  const share = (100 * (after[1] - before[1])) / (after[0] - before[0]);
  printFigure(`${codec}: sent of what came`, '%', [share], SHARE_BOUND_PERCENT);
  expect(share).toBeGreaterThan(0);
  expect(share).toBeLessThan(SHARE_BOUND_PERCENT);
  await Promise.all(browser.contexts().map((context) => context.close()));
});
