/** A viewer whose path gets narrow: how soon it is on a layer that fits, and how soon back on the best one. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { nextSample } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { type Link, PERFECT } from './link.ts';
import { LAYERS, publishSimulcast } from './simulcast.ts';
import { printFigure } from './table.ts';

const NARROW = { ...PERFECT, delayMs: 10, rateBps: 400_000, queueMs: 500 };
const WIDE = { ...PERFECT, delayMs: 10 };

/** Viewers are cut a few at a time: the publisher's encoders and what decodes share two cores. */
const ROUNDS = 10;
const AT_ONCE = 2;
const DOWN_BOUND_S = 3;
const UP_BOUND_S = 10;

/** How long the narrow path lasts: far longer than it takes to settle. */
const NARROW_MS = 12_000;

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

/** What one viewer saw of its path's getting narrow and wide again. */
interface Cut {
  readonly downSeconds: number;
  readonly upSeconds: number;
  readonly freezes: number;
  readonly frozenSeconds: number;
}

/** Cuts the paths of all `viewers` at once, and widens them again. */
async function cut(link: Link, spared: ReadonlySet<string>, viewers: readonly Page[]): Promise<Cut[]> {
  const best = LAYERS[2].width;
  const since = async (fromMs: number, width: number) =>
    Promise.all(viewers.map(async (viewer) => ((await settledAt(viewer, width)) - fromMs) / 1_000));
  const samples = () => Promise.all(viewers.map((viewer) => nextSample(viewer)));
  await since(0, best);
  const before = await samples();
  link.setDown(NARROW, spared);
  // The layer of 500 kbit/s does not fit, whatever a congested publisher makes of it.
  const down = await since(Date.now(), LAYERS[0].width);
  await new Promise((resolve) => setTimeout(resolve, NARROW_MS));
  link.setDown(WIDE, spared);
  const up = await since(Date.now(), best);
  const after = await samples();
  return viewers.map((_, place) => ({
    downSeconds: down[place] ?? Number.NaN,
    upSeconds: up[place] ?? Number.NaN,
    freezes: (after[place]?.freezeCount ?? 0) - (before[place]?.freezeCount ?? 0),
    frozenSeconds: (after[place]?.freezeSeconds ?? 0) - (before[place]?.freezeSeconds ?? 0),
  }));
}

test('a path that gets narrow and wide again', async () => {
  const cuts: Cut[] = [];
  await publishSimulcast(broadcast, 'narrow');
  for (let round = 0; round < ROUNDS; round += 1) {
    broadcast.link.set(WIDE);
    // The viewers' paths become narrow, not the publisher's.
    const spared = broadcast.link.flows;
    const viewers = await Promise.all(Array.from({ length: AT_ONCE }, () => broadcast.watch('narrow')));
    for (const viewer of viewers) await viewer.evaluate(recordWidths);
    cuts.push(...(await cut(broadcast.link, spared, viewers)));
    await Promise.all(viewers.map((viewer) => viewer.close()));
  }
  const [down, up] = [cuts.map((one) => one.downSeconds), cuts.map((one) => one.upSeconds)];
  const freezes = cuts.map((one) => one.freezes);
  printFigure('cut to 400 kbit/s: on a layer that fits', 's', down, DOWN_BOUND_S);
  printFigure('wide again: back on the best layer', 's', up, UP_BOUND_S);
  printFigure('freezes', 'freezes', freezes, 0);
  process.stdout.write(`frozen for ${cuts.map((one) => one.frozenSeconds.toFixed(2)).join(', ')} s\n`);
  expect(Math.max(...down)).toBeLessThanOrEqual(DOWN_BOUND_S);
  expect(Math.max(...up)).toBeLessThanOrEqual(UP_BOUND_S);
  expect(freezes).toEqual(freezes.map(() => 0));
});
