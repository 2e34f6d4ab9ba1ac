/** A minute of loss on both sides of the server: what is missing after repair, and whether the picture stands still. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, nextSample } from '../e2e/browser.ts';
import { type Broadcast, lostOnIngest, startBroadcast } from './broadcast.ts';
import { PERFECT } from './link.ts';
import { printFigure } from './table.ts';

const LOSSY = { ...PERFECT, delayMs: 25, lossRatio: 0.05 };
const LENGTH_MS = 60_000;

/** After this a browser knows its path: its estimate has grown and its buffer is as long as it needs to be. */
const SETTLING_MS = 8_000;

let broadcast: Broadcast;

beforeAll(async () => {
  broadcast = await startBroadcast(5);
});
afterAll(() => broadcast?.end());

test.each(['H264', 'VP8'] as const)('%s at 5%% loss each way and 50 ms round trip', async (codec) => {
  const { server, link } = broadcast;
  const room = `loss-${codec}`;
  link.set(LOSSY);
  await goLive(await broadcast.studio(room), codec);
  const viewer = await broadcast.watch(room);
  await expectMovingPicture(viewer);

  await new Promise((resolve) => setTimeout(resolve, SETTLING_MS));

  const [before, lostBefore] = [await nextSample(viewer), await lostOnIngest(server, room)];
  const dropped = link.dropped;
  await new Promise((resolve) => setTimeout(resolve, LENGTH_MS));
  const after = await nextSample(viewer);
  const lost = (await lostOnIngest(server, room)) - lostBefore;
  const freezes = (after.freezeCount ?? 0) - (before.freezeCount ?? 0);

  const frames = after.counters.framesDecoded - before.counters.framesDecoded;
  process.stdout.write(
    `${codec}: ${link.dropped - dropped} datagrams dropped, ${frames} frames decoded, ` +
      `frozen for ${((after.freezeSeconds ?? 0) - (before.freezeSeconds ?? 0)).toFixed(2)} s\n`,
  );
  printFigure(`${codec}: missing after repair on ingest`, 'packets', [lost], 0);
  printFigure(`${codec}: freezes in ${LENGTH_MS / 1000} s`, 'freezes', [freezes], 0);
  expect({ lost, freezes }).toEqual({ lost: 0, freezes: 0 });
});
