/** How long it takes from the WHEP request to the first picture, in a browser. */

import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { openPage, startBrowser } from '../e2e/browser.ts';
import { type Server, startServer } from '../e2e/server.ts';
import { publishSynthetic, type Synthetic } from './publisher.ts';
import { printFigure, quantile } from './table.ts';

const RUNS = 20;
const BOUND_MS = 300;

const STREAM = ['--gop', '4s', '--bitrate', '1.5M'];

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

/** Remembers when the page asked for the session. */
function rememberRequest(): void {
  const native = window.fetch;
  window.fetch = (input, init) => {
    if (init?.method === 'POST') Object.assign(window, { postedMs: performance.now() });
    return native(input, init);
  };
}

/** Milliseconds from the request to the first picture that the page was given. */
function firstFrameMs(): Promise<number> {
  return new Promise((resolve) => {
    const look = () => {
      const video = document.querySelector('aforo-player')?.video;
      if (!video) return void requestAnimationFrame(look);
      video.requestVideoFrameCallback((nowMs) => {
        resolve(nowMs - (window as unknown as { postedMs: number }).postedMs);
      });
    };
    look();
  });
}

/** Joins again and again, and measures each time. */
async function measure(publisher: Synthetic): Promise<number[]> {
  const measured: number[] = [];
  for (let run = 0; run < RUNS; run += 1) {
    const page = await openPage(browser, 'about:blank');
    await page.addInitScript(rememberRequest);
    await page.goto(`${server.url}/watch/${publisher.room}`);
    measured.push(await page.evaluate(firstFrameMs));
    await page.close();
    // Another phase of the publisher's group of pictures each time: 20 steps of 0.7 s pass through 4 s evenly.
    await new Promise((resolve) => setTimeout(resolve, 700));
  }
  return measured;
}

test.each([
  ['a publisher that answers requests for a keyframe', 'first-frame', []],
  ['a publisher that answers none', 'first-frame-deaf', ['--ignore-keyframe-requests']],
] as const)('the first picture of %s is there soon', async (name, prefix, flags) => {
  const publisher = await publishSynthetic(server, prefix, [...STREAM, ...flags]);
  try {
    const measured = await measure(publisher);
    printFigure(`POST to first picture, 4 s between keyframes, ${name}`, 'ms', measured, BOUND_MS);
    expect(quantile(measured, 0.95)).toBeLessThanOrEqual(BOUND_MS);
  } finally {
    await publisher.stop();
  }
});
