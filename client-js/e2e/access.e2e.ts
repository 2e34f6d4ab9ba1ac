/** A server that wants tokens, as people meet it: a form where a token is missing. */

import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { give, goLiveWith } from './access.ts';
import { expectMovingPicture, openPage, pageErrors, startBrowser, waitForState } from './browser.ts';
import { type Server, startServer } from './server.ts';

const PUBLISH = 'publish-0123456789';
const PLAY = 'play-0123456789';
const WRONG = 'address-9876543210';

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await startServer({
    AFORO__AUTH__PUBLISH_TOKENS: PUBLISH,
    AFORO__AUTH__PLAY_TOKENS: PLAY,
  });
  browser = await startBrowser();
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});
afterEach(async () => {
  await Promise.all(browser.contexts().map((context) => context.close()));
});

/** A page that keeps the addresses of its requests. */
async function openWatched(path: string): Promise<{ page: Page; requested: string[] }> {
  const page = await openPage(browser, 'about:blank');
  const requested: string[] = [];
  page.on('request', (request) => requested.push(request.url()));
  await page.goto(`${server.url}${path}`);
  return { page, requested };
}

const problem = (page: Page, text: string) =>
  page.locator('.tokenform [role=alert]', { hasText: text }).waitFor();

test('a missing token is asked for, and one in the address is not taken', async () => {
  const { page: studio, requested } = await openWatched('/studio/guarded');
  await goLiveWith(studio, PUBLISH);

  const { page: viewer, requested: asked } = await openWatched(`/watch/guarded#token=${WRONG}`);
  await viewer.getByRole('heading', { name: 'This room is private' }).waitFor();
  expect(await viewer.isVisible('aforo-player')).toBe(false);
  expect(await viewer.locator('.tokenform [role=alert]').textContent()).toBe('');
  expect(await viewer.locator('.tokenform input').getAttribute('type')).toBe('password');
  await give(viewer, ' ');
  await problem(viewer, 'Enter a token first');
  await give(viewer, 'wrong-0123456789');
  await problem(viewer, 'does not know this token');
  await give(viewer, PUBLISH);
  await problem(viewer, 'for going live, not for watching');
  await give(viewer, PLAY);
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  await viewer.locator('#viewers-text', { hasText: '1 watching' }).waitFor();

  await viewer.reload();
  await waitForState(viewer, 'playing');
  expect(await viewer.isVisible('.tokenform')).toBe(false);
  expect([...requested, ...asked].filter((url) => /0123456789/.test(url))).toEqual([]);
  expect([studio, viewer].flatMap(pageErrors)).toEqual([]);
});

test('the studio asks when it is to go live, and goes live with the answer', async () => {
  const { page: studio } = await openWatched('/studio/asked');
  await studio.waitForFunction(() => document.querySelector<HTMLVideoElement>('#preview')?.videoWidth);
  expect(await studio.isVisible('.tokenform')).toBe(false);
  await studio.click('#golive');
  await studio.getByRole('heading', { name: 'Going live here needs a token' }).waitFor();
  expect(await studio.isVisible('#problem')).toBe(false);
  await give(studio, PLAY);
  await problem(studio, 'for watching, not for going live');
  await give(studio, PUBLISH);
  await waitForState(studio, 'live');
  expect(await studio.isVisible('.tokenform')).toBe(false);
  expect(pageErrors(studio)).toEqual([]);
});

test('the first page keeps the names of rooms until it has a token, which then opens them', async () => {
  const { page: studio } = await openWatched('/studio/secret');
  await goLiveWith(studio, PUBLISH);
  const { page: home } = await openWatched('/');
  await home.getByRole('heading', { name: 'The rooms here are private' }).waitFor();
  expect(await home.textContent('main')).not.toContain('secret');
  expect((await fetch(`${server.url}/v1/rooms`)).status).toBe(401);
  await give(home, PLAY);
  await home.click('.card a[href="/watch/secret"]');
  await waitForState(home, 'playing');
  await expectMovingPicture(home);
  expect(pageErrors(home)).toEqual([]);
});

test('a second studio with the same token takes over: viewers play on, and the first one is told', async () => {
  const studio = async () => {
    const { page } = await openWatched('/studio/contested');
    await goLiveWith(page, PUBLISH);
    return page;
  };
  const first = await studio();
  const { page: viewer } = await openWatched('/watch/contested');
  await give(viewer, PLAY);
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  const session = () =>
    viewer.evaluate(() => {
      const { srcObject } = document.querySelector('aforo-player')?.video ?? {};
      return (srcObject as MediaStream | null)?.id;
    });
  const before = await session();
  const second = await studio();
  await waitForState(first, 'failed');
  await first.getByText('Another studio has taken over').waitFor();
  await expectMovingPicture(viewer);
  await waitForState(viewer, 'playing');
  expect(await session()).toBe(before);
  expect(await second.evaluate(() => document.body.dataset.state)).toBe('live');
  expect([first, viewer, second].flatMap(pageErrors)).toEqual([]);
});
