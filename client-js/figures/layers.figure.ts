/** A viewer whose path gets narrow: how soon it is on a layer that fits, and how soon back on the best one. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nextSample } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { PERFECT } from './link.ts';
import { LAYERS, publishSimulcast } from './simulcast.ts';
import { printFigure } from './table.ts';

const NARROW = { ...PERFECT, delayMs: 10, rateBps: 400_000, queueMs: 500 };
const WIDE = { ...PERFECT, delayMs: 10 };
const RUNS = 3;
const DOWN_BOUND_S = 3;
const UP_BOUND_S = 10;

/** How long the narrow path lasts: far longer than it takes to settle. */
const NARROW_MS = 15_000;

let broadcast: Broadcast;

beforeAll(async () => {
  broadcast = await startBroadcast(11);
});
afterAll(() => broadcast?.end());

/** Keeps, on the page, when the width of the picture changed. */
function recordWidths(): void {
  const widths: Array<{ atMs: number; width: number }> = [];
  Object.assign(window, { widths });
  const record = () => {
    document.querySelector('aforo-player')?.video?.requestVideoFrameCallback((nowMs, { width }) => {
      if (widths.at(-1)?.width !== width) widths.push({ atMs: performance.timeOrigin + nowMs, width });
      record();
    });
  };
  record();
}

/** When the picture had become `width` wide for good, once it is. */
async function settledAt(page: Page, wanted: number): Promise<number> {
  const handle = await page.waitForFunction((width) => {
    const last = (window as unknown as { widths: Array<{ atMs: number; width: number }> }).widths.at(-1);
    return last?.width === width && Date.now() - last.atMs > 1_500 ? last.atMs : null;
  }, wanted);
  return (await handle.jsonValue()) as number;
}

test('a path that gets narrow and wide again', async () => {
  const [down, up, freezes]: [number[], number[], number[]] = [[], [], []];
  const best = LAYERS[2].width;
  await publishSimulcast(broadcast, 'narrow');
  for (let run = 0; run < RUNS; run += 1) {
    broadcast.link.set(WIDE);
    // The viewer's path becomes narrow, not the publisher's.
    const spared = broadcast.link.flows;
    const viewer = await broadcast.watch('narrow');
    await viewer.evaluate(recordWidths);
    await settledAt(viewer, best);
    const before = await nextSample(viewer);

    broadcast.link.setDown(NARROW, spared);
    const cutMs = Date.now();
    // The layer of 500 kbit/s does not fit, whatever a congested publisher makes of it.
    down.push(((await settledAt(viewer, LAYERS[0].width)) - cutMs) / 1_000);
    await new Promise((resolve) => setTimeout(resolve, NARROW_MS));
    broadcast.link.setDown(WIDE, spared);
    const widenedMs = Date.now();
    up.push(((await settledAt(viewer, best)) - widenedMs) / 1_000);
    const after = await nextSample(viewer);
    freezes.push((after.freezeCount ?? 0) - (before.freezeCount ?? 0));
    await viewer.close();
  }
  printFigure('cut to 400 kbit/s: on a layer that fits', 's', down, DOWN_BOUND_S);
  printFigure('wide again: back on the best layer', 's', up, UP_BOUND_S);
  printFigure('freezes', 'freezes', freezes, 0);
  expect(Math.max(...down)).toBeLessThanOrEqual(DOWN_BOUND_S);
  expect(Math.max(...up)).toBeLessThanOrEqual(UP_BOUND_S);
  expect(freezes).toEqual(freezes.map(() => 0));
});
