/** How soon a picture is back after what interrupts it: a publisher that starts anew, a viewer that changes its address. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, waitForState } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { printFigure, quantile } from './table.ts';

const RUNS = 20;
const RESTART_BOUND_MS = 300;
const MOVE_BOUND_MS = 1_000;

/** How long a viewer is watched after it moved: far longer than the bound, so that no gap is cut off. */
const WATCHED_MS = 4_000;

let broadcast: Broadcast;

beforeAll(async () => {
  broadcast = await startBroadcast(7);
});
afterAll(() => broadcast?.end());

/** Keeps, on the page, when each picture was shown, in ms of the wall clock. */
function recordPictures(): void {
  const shown: number[] = [];
  Object.assign(window, { shown });
  const record = () => {
    document.querySelector('aforo-player')?.video?.requestVideoFrameCallback((nowMs) => {
      shown.push(performance.timeOrigin + nowMs);
      record();
    });
  };
  record();
}

/** When the first picture after `afterMs` was shown, once there is one. */
async function firstPictureAfter(page: Page, afterMs: number): Promise<number> {
  const handle = await page.waitForFunction(
    (after) => (window as unknown as { shown: number[] }).shown.find((atMs) => atMs > after),
    afterMs,
  );
  return (await handle.jsonValue()) as number;
}

/** The longest time without a new picture since `sinceMs`. */
function longestGapMs(sinceMs: number): number {
  const { shown } = window as unknown as { shown: number[] };
  const steps = shown.map((atMs, index) => (atMs < sinceMs ? 0 : atMs - (shown[index - 1] ?? atMs)));
  return Math.max(...steps);
}

/** Keeps, on the page, when a connection was up last. */
function recordConnection(): void {
  const native = window.RTCPeerConnection;
  window.RTCPeerConnection = class extends native {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      this.addEventListener('connectionstatechange', () => {
        if (this.connectionState === 'connected') Object.assign(window, { connectedMs: Date.now() });
      });
    }
  };
}

test('a publisher that starts anew', async () => {
  const room = 'restart';
  let studio = await broadcast.studio(room);
  await goLive(studio, 'VP8');
  const viewer = await broadcast.watch(room);
  await expectMovingPicture(viewer);
  await viewer.evaluate(recordPictures);
  const gaps: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    studio.on('dialog', (dialog) => void dialog.accept());
    await studio.goto('about:blank');
    await studio.close();
    await waitForState(viewer, 'stalled');
    studio = await broadcast.studio(room);
    await studio.evaluate(recordConnection);
    await goLive(studio, 'VP8');
    const connectedMs = await studio.evaluate(
      () => (window as unknown as { connectedMs: number }).connectedMs,
    );
    gaps.push((await firstPictureAfter(viewer, connectedMs)) - connectedMs);
    await waitForState(viewer, 'playing');
  }
  printFigure("gap beyond the publisher's own absence", 'ms', gaps, RESTART_BOUND_MS);
  expect(quantile(gaps, 0.95)).toBeLessThanOrEqual(RESTART_BOUND_MS);
});

test('a viewer that changes its address', async () => {
  const room = 'move';
  await goLive(await broadcast.studio(room), 'VP8');
  const gaps: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const spared = broadcast.link.flows;
    const viewer = await broadcast.watch(room);
    await expectMovingPicture(viewer);
    await viewer.evaluate(recordPictures);
    broadcast.link.cutFlows(spared);
    const movedMs = await viewer.evaluate(() => {
      window.dispatchEvent(new Event('online'));
      return Date.now();
    });
    await firstPictureAfter(viewer, movedMs + WATCHED_MS);
    gaps.push(await viewer.evaluate(longestGapMs, movedMs));
    await viewer.close();
  }
  printFigure('media back after a change of address', 'ms', gaps, MOVE_BOUND_MS);
  expect(quantile(gaps, 0.95)).toBeLessThanOrEqual(MOVE_BOUND_MS);
});
