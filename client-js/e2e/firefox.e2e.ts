/** The studio and the watch page in Firefox, whose WebRTC offers other codecs and candidates than Chromium's. */

import { networkInterfaces } from 'node:os';
import puppeteer, { type Browser, type Page } from 'puppeteer-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { PlaybackSample } from '../src/stats/playback-sample.ts';
import { pictureMoves } from './browser.ts';
import { AES_GCM, keepConnections, newestCipher } from './encryption.ts';
import { type Server, startServer } from './server.ts';

const PREFERENCES = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.peerconnection.ice.loopback': true,
  'media.autoplay.default': 0,
};

/** With how many frames the first one is compared: two seconds, in which the fake camera's colour has changed by far. */
const FRAMES_COMPARED = 60;

let server: Server;
let browser: Browser;

beforeAll(async () => {
  server = await startServer({}, addressOfThisMachine());
  browser = await puppeteer.launch({
    browser: 'firefox',
    executablePath: process.env.FIREFOX ?? '/usr/bin/firefox-esr',
    extraPrefsFirefox: PREFERENCES,
    protocolTimeout: 60_000,
  });
});
afterAll(async () => {
  await browser?.close();
  await server?.stop();
});

/** Firefox never sends media to 127.0.0.1: the server has to be where the network is. */
function addressOfThisMachine(): string {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) => entries ?? []);
  const found = addresses.find((entry) => entry.family === 'IPv4' && !entry.internal);
  if (!found)
    throw new Error('Firefox needs an IPv4 address other than 127.0.0.1, and this machine has none');
  return found.address;
}

async function open(path: string): Promise<Page> {
  const page = await (await browser.createBrowserContext()).newPage();
  page.setDefaultTimeout(60_000);
  await page.evaluateOnNewDocument(keepConnections);
  await page.goto(`${server.url}${path}`);
  return page;
}

const waitForState = (page: Page, state: string) =>
  page.waitForFunction((wanted) => document.body.dataset.state === wanted, {}, state);

/** Goes live with VP8. */
async function goLive(studio: Page): Promise<void> {
  // Firefox does not say beforehand that the camera may be used, so the page asks for a click.
  await studio.locator('#cover-action').click();
  await studio.waitForFunction(() => document.querySelector<HTMLVideoElement>('#preview')?.videoWidth);
  await studio.evaluate(() => {
    document.querySelector<HTMLInputElement>('input[name=codec][value=VP8]')?.click();
    document.querySelector<HTMLElement>('#golive')?.click();
  });
  await waitForState(studio, 'live');
}

/** Keeps the player's newest statistics on the page. */
const keepSamples = (page: Page) =>
  page.evaluate(() => {
    document.querySelector('aforo-player')?.addEventListener('aforo-stats', (event) => {
      Object.assign(window, { sample: (event as CustomEvent<PlaybackSample>).detail });
    });
  });

/** What a function in the page answers, as soon as it is no longer nothing. */
async function answerOf<T>(
  page: Page,
  ask: (...about: number[]) => T | false | 0 | undefined,
  ...about: number[]
): Promise<T> {
  const handle = await page.waitForFunction(ask, {}, ...about);
  return (await handle.jsonValue()) as T;
}

/** The first statistics with more than this many decoded frames, and with sound. */
const sampleAfter = (page: Page, frames: number): Promise<PlaybackSample> =>
  answerOf(
    page,
    (wanted: number) => {
      const { sample } = window as unknown as { sample?: PlaybackSample };
      return sample && sample.counters.framesDecoded > wanted && (sample.audioEnergy ?? 0) > 0 && sample;
    },
    frames,
  );

/** Waits until the player shows a picture that moves. Firefox's fake camera goes through all colours. */
const expectMovingPicture = (page: Page) =>
  expect.poll(() => page.evaluate(pictureMoves, FRAMES_COMPARED), { timeout: 60_000 }).toBe(true);

/** Sees that sound goes on while pictures are shown. */
async function expectSound(page: Page): Promise<void> {
  const { audioEnergy, counters } = await sampleAfter(page, 0);
  const later = await sampleAfter(page, counters.framesDecoded + FRAMES_COMPARED);
  expect(later.audioEnergy).toBeGreaterThan(audioEnergy ?? 0);
}

test('VP8: a studio goes live and a viewer sees and hears', async () => {
  const studio = await open('/studio/firefox');
  await goLive(studio);
  expect(await studio.evaluate(newestCipher)).toMatch(AES_GCM);

  const viewer = await open('/watch/firefox');
  await keepSamples(viewer);
  await waitForState(viewer, 'playing');
  await expectMovingPicture(viewer);
  await expectSound(viewer);
  const later = await sampleAfter(viewer, 0);
  expect(later.videoCodec).toBe('VP8');
  expect(later.audioCodec).toBe('opus');
  expect(later.srtpCipher).toMatch(AES_GCM);
});

/** Waits until the player offers three sizes that it knows. */
const offersThreeSizes = (page: Page) =>
  page.waitForFunction(() => {
    const layers = document.querySelector('aforo-player')?.player?.layers ?? [];
    return layers.length === 3 && new Set(layers.map(({ height }) => height ?? 0)).size === 3;
  });

/**
 * Chooses a layer as the menu does, and waits until the picture that is decoded has lines between these. Returns how many: a
 * browser that is short of time sends less than it said at first.
 */
async function choose(page: Page, id: string, above: number, below: number): Promise<number> {
  await page.evaluate((layer) => document.querySelector('aforo-player')?.player?.selectLayer(layer), id);
  const decoded = (least: number, most: number) => {
    const lines = (window as unknown as { sample?: PlaybackSample }).sample?.height ?? 0;
    return lines > least && lines < most && lines;
  };
  return answerOf(page, decoded, above, below);
}

test('VP8 in three sizes: a viewer gets the one that it chooses', async () => {
  const studio = await open('/studio/firefox-simulcast');
  await goLive(studio);
  const viewer = await open('/watch/firefox-simulcast');
  await keepSamples(viewer);
  await waitForState(viewer, 'playing');
  await offersThreeSizes(viewer);
  await expectSound(viewer);
  const small = await choose(viewer, 'q', 0, 360);
  await expectMovingPicture(viewer);
  const large = await choose(viewer, 'f', 2 * small, 721);
  await expectMovingPicture(viewer);
  const middle = await choose(viewer, 'h', small, large);
  await expectMovingPicture(viewer);
  expect(await choose(viewer, 'f', middle, 721)).toBeGreaterThan(middle);
});
