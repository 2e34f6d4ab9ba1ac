/** How soon a picture is back after what interrupts it: a publisher that starts anew, a viewer that changes its address. */

import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, waitForState } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { Passage } from './passage.ts';
import { describePictures, firstPictureAfter, longestGapMs, recordPictures } from './pictures.ts';
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
    const passage = new Passage();
    broadcast.link.watcher = passage.watcher;
    await studio.evaluate(recordConnection);
    await goLive(studio, 'VP8');
    const connectedMs = await studio.evaluate(
      () => (window as unknown as { connectedMs: number }).connectedMs,
    );
    const gapMs = (await firstPictureAfter(viewer, connectedMs)) - connectedMs;
    gaps.push(gapMs);
    await waitForState(viewer, 'playing');
    const pictures = await viewer.evaluate(describePictures, connectedMs);
    process.stdout.write(
      `${run}: ${gapMs.toFixed(0)} ms: ${passage.describe(connectedMs)}; received and shown: ${pictures}\n`,
    );
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
