/** Simulcast, end to end: a camera in three sizes, and a viewer who chooses among them in the player's menu. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { AforoPlayerElement } from '../src/player-element/aforo-player.ts';
import {
  expectMovingPicture,
  expectSound,
  goLive,
  nextSample,
  openPage,
  pageErrors,
  startBrowser,
  waitForState,
} from './browser.ts';
import { chooseQuality, FREEZE_MAX_SECONDS } from './quality.ts';
import { type Server, startServer } from './server.ts';

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await startServer();
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

const shown = (page: Page) =>
  page.evaluate(() => document.querySelector('aforo-player')?.video.videoHeight ?? 0);

/** Waits until the picture that is shown has more or fewer lines than `lines`. Returns how many. */
async function becomes(page: Page, which: 'larger' | 'smaller', lines: number): Promise<number> {
  await page.waitForFunction(
    ([wanted, than]) => {
      const height = document.querySelector('aforo-player')?.video.videoHeight ?? 0;
      return wanted === 'larger' ? height > Number(than) : height > 0 && height < Number(than);
    },
    [which, lines] as const,
  );
  await expectMovingPicture(page);
  return shown(page);
}

test.each([
  'H264',
  'VP8',
] as const)('%s: the quality is chosen in the menu, without a freeze of a second', async (codec) => {
  const name = `quality-${codec.toLowerCase()}`;
  const publisher = await openPage(browser, `${server.url}/studio/${name}`);
  await goLive(publisher, codec);
  const viewer = await openPage(browser, `${server.url}/watch/${name}`);
  await waitForState(viewer, 'playing');
  // The browser turns its sizes on one by one, as its estimate of the network grows.
  await viewer.waitForFunction(() => {
    const layers = document.querySelector<AforoPlayerElement>('aforo-player')?.player?.layers ?? [];
    return layers.length > 1;
  });
  await chooseQuality(viewer, -1);
  const first = await becomes(viewer, 'smaller', 720);
  await expectSound(viewer);
  const before = await nextSample(viewer);
  await chooseQuality(viewer, 1);
  const large = await becomes(viewer, 'larger', first);
  await chooseQuality(viewer, -1);
  const small = await becomes(viewer, 'smaller', large);
  await chooseQuality(viewer, 0);
  await becomes(viewer, 'larger', small);
  const after = await nextSample(viewer);
  expect(after.counters.framesDecoded).toBeGreaterThan(before.counters.framesDecoded);
  expect((after.freezeSeconds ?? 0) - (before.freezeSeconds ?? 0)).toBeLessThan(FREEZE_MAX_SECONDS);
  await viewer.waitForFunction(() => document.querySelector('#viewers-text')?.textContent === '1 watching');
  expect([publisher, viewer].flatMap(pageErrors)).toEqual([]);
  await Promise.all(browser.contexts().map((context) => context.close()));
});
