/** A publisher that vanished, on a node that looks at nobody's silence: then the end of its consent tells (RFC 7675). */

import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { expectMovingPicture, goLive, openPage, startBrowser, waitForState } from './browser.ts';
import { type Server, startServer } from './server.ts';

/** Consent lasts for 30 s after the last answer, and a busy machine is late. */
const CONSENT_TIMEOUT_MS = 60_000;

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await startServer({ AFORO__ROOMS__PUBLISHER_SILENCE_SECONDS: '0' });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

const isLive = async () =>
  ((await (await fetch(`${server.url}/v1/rooms/consent`)).json()) as { live: boolean }).live;

/** Publishers whose session ended for want of consent, by the server's metrics. */
async function expired(): Promise<number> {
  const metrics = await (await fetch(`${server.admin}/metrics`)).text();
  const line = /^aforo_session_ends_total\{reason="consent_expired",role="publisher"\} (\d+)$/m;
  return Number(line.exec(metrics)?.[1] ?? 0);
}

const connectionsMade = (page: Page) =>
  page.evaluate(() => (window as unknown as { keptConnections: unknown[] }).keptConnections.length);

test('a publisher whose consent expires loses its stream, and viewers play on with another', async () => {
  const other = await startBrowser();
  const publisher = await openPage(other, `${server.url}/studio/consent`);
  await goLive(publisher, 'VP8');
  const viewer = await openPage(browser, `${server.url}/watch/consent`);
  await expectMovingPicture(viewer);
  const before = await connectionsMade(viewer);
  // A crashed renderer sends no DELETE and no DTLS alert.
  publisher.goto('chrome://crash').catch(() => undefined);
  await waitForState(viewer, 'stalled');
  await other.close();
  expect(await isLive()).toBe(true);
  await expect.poll(isLive, { timeout: CONSENT_TIMEOUT_MS }).toBe(false);
  await expect.poll(expired, { timeout: 5_000 }).toBe(1);
  await goLive(await openPage(browser, `${server.url}/studio/consent`), 'VP8');
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  expect(await connectionsMade(viewer)).toBe(before);
});
