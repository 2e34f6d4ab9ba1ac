/** How soon a picture is back after what interrupts it: a publisher that starts anew, a viewer that changes its address. */

import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, waitForState } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { Passage } from './passage.ts';
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

/** Keeps, on the page, when each picture was shown, in ms of the wall clock, and what is known of it. */
function recordPictures(): void {
  const [shown, pictures]: [number[], Picture[]] = [[], []];
  Object.assign(window, { shown, pictures });
  const record = () => {
    document
      .querySelector('aforo-player')
      ?.video?.requestVideoFrameCallback((nowMs, { width, receiveTime }) => {
        const atMs = performance.timeOrigin + nowMs;
        shown.push(atMs);
        pictures.push({ atMs, width, receivedMs: performance.timeOrigin + (receiveTime ?? nowMs) });
        record();
      });
  };
  record();
}

/** A picture that a viewer was shown; times of the wall clock. */
interface Picture {
  readonly atMs: number;
  /** When its last packet came. */
  readonly receivedMs: number;
  readonly width: number;
}

/** The first picture after `afterMs` and the first of each other width that followed, as ms since then. */
function describePictures(afterMs: number): string {
  const { pictures } = window as unknown as { pictures: Picture[] };
  const since = pictures.filter((picture) => picture.atMs > afterMs);
  const first = since.filter((picture, place) => picture.width !== since[place - 1]?.width);
  const ms = (atMs: number) => `+${Math.round(atMs - afterMs)}`;
  return first.map(({ atMs, receivedMs, width }) => `${width} px ${ms(receivedMs)} ${ms(atMs)}`).join(', ');
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
