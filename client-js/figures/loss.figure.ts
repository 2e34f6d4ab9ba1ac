/** A minute of loss on both sides of the server: what is missing after repair, and whether the picture stands still. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, nextSample } from '../e2e/browser.ts';
import { type Broadcast, lostOnIngest, startBroadcast } from './broadcast.ts';
import { PERFECT } from './link.ts';
import { printFigure } from './table.ts';

const LOSSY = { ...PERFECT, delayMs: 25, lossRatio: 0.05 };
const LENGTH_MS = 60_000;

/** So many viewers each watch for a minute, a few at a time, so that two cores decode them all. */
const ROUNDS = 5;
const AT_ONCE = 4;

/** After this a browser knows its path: its estimate has grown and its buffer is as long as it needs to be. */
const SETTLING_MS = 8_000;

let broadcast: Broadcast;

beforeAll(async () => {
  broadcast = await startBroadcast(5);
});
afterAll(() => broadcast?.end());

/** How often and how long a viewer's picture has stood still so far. */
async function freezesOf(viewer: Page): Promise<{ count: number; seconds: number; frames: number }> {
  const { freezeCount, freezeSeconds, counters } = await nextSample(viewer);
  return { count: freezeCount ?? 0, seconds: freezeSeconds ?? 0, frames: counters.framesDecoded };
}

/** Watches from the first picture on; gives the freezes until it had settled, and those of the minute after. */
async function watchFor(viewer: Page): Promise<{ settling: number; settled: number }> {
  await expectMovingPicture(viewer);
  await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));
  const before = await freezesOf(viewer);
  await new Promise((resolve) => setTimeout(resolve, LENGTH_MS));
  const after = await freezesOf(viewer);
  process.stdout.write(
    `${after.frames - before.frames} frames decoded, frozen for ${before.seconds.toFixed(2)} s at first and ` +
      `${(after.seconds - before.seconds).toFixed(2)} s in the minute\n`,
  );
  return { settling: before.count, settled: after.count - before.count };
}

test.each(['H264', 'VP8'] as const)('%s at 5%% loss each way and 50 ms round trip', async (codec) => {
  const { server, link } = broadcast;
  const room = `loss-${codec}`;
  link.set(LOSSY);
  const studio = await broadcast.studio(room);
  await goLive(studio, codec);
  const [lost, settling, settled]: [number[], number[], number[]] = [[], [], []];
  for (let round = 0; round < ROUNDS; round += 1) {
    const lostBefore = await lostOnIngest(server, room);
    const viewers = await Promise.all(Array.from({ length: AT_ONCE }, () => broadcast.watch(room)));
    for (const freezes of await Promise.all(viewers.map(watchFor))) {
      settling.push(freezes.settling);
      settled.push(freezes.settled);
    }
    lost.push((await lostOnIngest(server, room)) - lostBefore);
    await Promise.all(viewers.map((viewer) => viewer.close()));
  }
  await studio.close();
  process.stdout.write(`${codec}: ${link.dropped} datagrams were dropped so far\n`);
  printFigure(`${codec}: missing after repair on ingest in each round`, 'packets', lost, 0);
  printFigure(`${codec}: freezes in the first ${SETTLING_MS / 1000} s`, 'freezes', settling, 0);
  printFigure(`${codec}: freezes in ${LENGTH_MS / 1000} s after that`, 'freezes', settled, 0);
  const none = (values: number[]) => values.map(() => 0);
  expect({ lost, settled }).toEqual({ lost: none(lost), settled: none(settled) });
});
