/** A publisher takes a live stream over from another: for how long viewers see no new picture, and when they see the next one's. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { give, goLiveWith } from '../e2e/access.ts';
import { expectMovingPicture, waitForState } from '../e2e/browser.ts';
import { type Broadcast, startBroadcast } from './broadcast.ts';
import { Encoder, GROUP_PICTURES, makeClip, PICTURES_PER_SECOND } from './encoder.ts';
import type { Watcher } from './link.ts';
import { firstPictureAfter, longestGapMs, recordPictures } from './pictures.ts';
import { printFigure, quantile } from './table.ts';
import { Tokens } from './tokens.ts';

const RUNS = 20;
const ENCODER_RUNS = 6;
const GAP_BOUND_MS = 1_000;

/** How long a viewer is watched after a takeover: far longer than the bound, so that no gap is cut off. */
const WATCHED_MS = 3_000;

let tokens: Tokens;
let broadcast: Broadcast;

beforeAll(async () => {
  tokens = new Tokens();
  broadcast = await startBroadcast(13, tokens.environment);
});
afterAll(async () => {
  await broadcast?.end();
  tokens?.forget();
});

/** A viewer who sees the stream move, and keeps when it was shown what. */
async function watch(room: string, token: string): Promise<Page> {
  const viewer = await broadcast.watch(room);
  await give(viewer, token);
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  await viewer.evaluate(recordPictures);
  return viewer;
}

/** The longest time without a new picture from `sinceMs` until long after now. */
async function gapSince(viewer: Page, sinceMs: number): Promise<number> {
  await firstPictureAfter(viewer, Date.now() + WATCHED_MS);
  return viewer.evaluate(longestGapMs, sinceMs);
}

test('a studio with the same token, or of a higher priority', async () => {
  const room = 'studios';
  let priority = 0;
  let token = tokens.create(room, priority);
  let holder = await broadcast.studio(room);
  await goLiveWith(holder, token);
  const viewer = await watch(room, token);
  const gaps: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const byPriority = run % 2 === 1;
    if (byPriority) {
      priority += 1;
      token = tokens.create(room, priority);
    }
    const sinceMs = Date.now();
    const next = await broadcast.studio(room);
    await goLiveWith(next, token);
    await waitForState(holder, 'failed');
    const gapMs = await gapSince(viewer, sinceMs);
    gaps.push(gapMs);
    process.stdout.write(`${run}: ${byPriority ? 'priority' : 'same token'}: ${gapMs.toFixed(0)} ms\n`);
    await holder.close();
    holder = next;
  }
  await waitForState(viewer, 'playing');
  printFigure('takeover: longest time without a new picture', 'ms', gaps, GAP_BOUND_MS);
  expect(quantile(gaps, 1)).toBeLessThanOrEqual(GAP_BOUND_MS);
});

/** Keeps, on the page, when the picture's first corner became red or blue. */
function recordCorners(): void {
  const corners: Corner[] = [];
  Object.assign(window, { corners });
  const canvas = Object.assign(document.createElement('canvas'), { width: 32, height: 18 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const record = () => {
    const video = document.querySelector('aforo-player')?.video;
    video?.requestVideoFrameCallback((nowMs) => {
      context?.drawImage(video, 0, 0, 32, 18);
      const [red = 0, , blue = 0] = context?.getImageData(2, 2, 1, 1).data ?? [];
      const colour = red > blue ? 'red' : 'blue';
      if (corners.at(-1)?.colour !== colour) corners.push({ atMs: performance.timeOrigin + nowMs, colour });
      record();
    });
  };
  record();
}

interface Corner {
  readonly atMs: number;
  readonly colour: string;
}

/** When the corner became this colour for the last time, once it is. */
async function cornerBecomes(viewer: Page, colour: string): Promise<number> {
  const handle = await viewer.waitForFunction((wanted) => {
    const last = (window as unknown as { corners: Corner[] }).corners.at(-1);
    return last?.colour === wanted ? last.atMs : null;
  }, colour);
  return (await handle.jsonValue()) as number;
}

/** Whether a datagram is RTP (RFC 7983 §7) and not RTCP beside it (RFC 5761 §4). */
function isRtp(datagram: Uint8Array): boolean {
  const [first = 0, second = 0] = datagram;
  return first >= 128 && first < 192 && ((second & 0x7f) < 64 || (second & 0x7f) > 95);
}

/** When the first media came of a client that was not there before. */
function firstMediaOfNext(): Promise<number> {
  const known = broadcast.link.flows;
  return new Promise((resolve) => {
    const watcher: Watcher = (atMs, toServer, flow, datagram) => {
      if (toServer && !known.has(flow) && isRtp(datagram)) resolve(atMs);
    };
    broadcast.link.watcher = watcher;
  });
}

test('an encoder with a keyframe each 4 s, deaf to wishes', async () => {
  const room = 'encoders';
  const folder = mkdtempSync(join(tmpdir(), 'aforo-figures-'));
  const clips = ['blue', 'red'].map((corner) => ({ corner, file: join(folder, `${corner}.mkv`) }));
  for (const { corner, file } of clips) makeClip(file, corner);
  const token = tokens.create(room, 0);
  const endpoint = `${broadcast.server.url}/whip/${room}`;
  let holder = new Encoder(clips[1]?.file ?? '', endpoint, token, 0);
  const [gaps, stays]: [number[], number[]] = [[], []];
  try {
    const viewer = await Promise.race([watch(room, token), holder.failure()]);
    await viewer.evaluate(recordCorners);
    for (let run = 0; run < ENCODER_RUNS; run += 1) {
      const { corner, file } = clips[run % 2] ?? { corner: '', file: '' };
      // From anywhere in the group, so that its next keyframe comes soon or late.
      const skipped = Math.floor(((ENCODER_RUNS - run) % ENCODER_RUNS) * (GROUP_PICTURES / ENCODER_RUNS)) + 1;
      const sinceMs = Date.now();
      const media = firstMediaOfNext();
      const next = new Encoder(file, endpoint, token, skipped);
      const shown = Promise.all([media, cornerBecomes(viewer, corner)]);
      const [sentMs, shownMs] = await Promise.race([shown, next.failure()]);
      const gapMs = await gapSince(viewer, sinceMs);
      gaps.push(gapMs);
      stays.push(shownMs - sentMs);
      const untilKeyframeMs = ((GROUP_PICTURES - skipped) * 1_000) / PICTURES_PER_SECOND;
      process.stdout.write(
        `${run}: ${gapMs.toFixed(0)} ms without a new picture, next one shown ${(shownMs - sentMs).toFixed(0)} ms ` +
          `after its first packet; its keyframe came ${untilKeyframeMs.toFixed(0)} ms after its first picture\n`,
      );
      await holder.kill();
      holder = next;
    }
    await waitForState(viewer, 'playing');
  } finally {
    await holder.kill();
    rmSync(folder, { recursive: true });
  }
  const [lowest, longest] = [quantile(stays, 0), quantile(stays, 1)].map((ms) => ms.toFixed(0));
  process.stdout.write(`the one before stays on the air for ${lowest} to ${longest} ms\n`);
  printFigure('takeover by a deaf encoder: longest time without a new picture', 'ms', gaps, GAP_BOUND_MS);
  expect(quantile(gaps, 1)).toBeLessThanOrEqual(GAP_BOUND_MS);
});
