/** Chromium with a fake camera and microphone, and what a test asks of its pages. */

import { type Browser, chromium, type Page } from 'playwright-core';
import { expect } from 'vitest';
import type { PlaybackSample } from '../src/stats/playback-sample.ts';
import { keepConnections } from './encryption.ts';

const BASE_FLAGS = [
  '--no-sandbox',
  '--allow-loopback-in-peer-connection',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  '--disable-quic',
];

/** Ends a wait for a state that never comes: far beyond the slowest machine's need, as encoders share its cores. */
const STATE_TIMEOUT_MS = 60_000;

/** With how many frames the first one is compared: two seconds, whatever moves. */
const FRAMES_COMPARED = 60;

/** How a browser is started. */
export interface BrowserOptions {
  /** Hide host addresses behind mDNS names, as browsers do on pages without camera permission. */
  readonly mdns?: boolean;
  /** Answer every permission prompt with no. */
  readonly blocked?: boolean;
  /** Pictures a second of the fake camera; 30 unless told otherwise. */
  readonly framesPerSecond?: number;
}

/** Starts a browser; `CHROMIUM` names another than Debian's. */
export function startBrowser({
  mdns = false,
  blocked = false,
  framesPerSecond = 30,
}: BrowserOptions = {}): Promise<Browser> {
  const args = [...BASE_FLAGS, `--use-fake-device-for-media-stream=fps=${framesPerSecond}`];
  if (blocked) args.push('--deny-permission-prompts');
  else if (!mdns) args.push('--use-fake-ui-for-media-stream');
  return chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args });
}

/** A page whose uncaught errors fail the test that asks for {@link pageErrors}. */
export async function openPage(browser: Browser, url: string): Promise<Page> {
  const page = await browser.newPage();
  page.setDefaultTimeout(STATE_TIMEOUT_MS);
  const errors: string[] = [];
  page.on('pageerror', (error) => errors.push(error.message));
  await page.addInitScript(keepConnections);
  errorsOf.set(page, errors);
  await page.goto(url);
  return page;
}

const errorsOf = new WeakMap<Page, string[]>();

/** What went wrong in the page's scripts since it was opened. */
export function pageErrors(page: Page): string[] {
  return errorsOf.get(page) ?? [];
}

/** Goes live from the studio page with the codec of this name and waits until the page says so. */
export async function goLive(page: Page, codec: 'H264' | 'VP8' | 'VP9' | 'AV1'): Promise<void> {
  await page.waitForFunction(() => document.querySelector<HTMLVideoElement>('#preview')?.videoWidth);
  await page.check(`input[name=codec][value=${codec}]`);
  await page.click('#golive');
  await waitForState(page, 'live');
}

/** Waits until the studio or watch page is in `state`; a page that is on its way to another address has no body yet. */
export async function waitForState(page: Page, state: string): Promise<void> {
  await page.waitForFunction((wanted) => document.body?.dataset.state === wanted, state);
}

/**
 * Waits until the page answers a question with yes that it takes time to answer. Playwright's `waitForFunction` would take
 * the promise itself for a yes.
 */
export async function waitUntil<Argument>(
  page: Page,
  question: (argument: Argument) => Promise<boolean>,
  argument: Argument,
): Promise<void> {
  const ask = question as (argument: unknown) => Promise<boolean>;
  await expect.poll(() => page.evaluate(ask, argument), { timeout: STATE_TIMEOUT_MS }).toBe(true);
}

/** Waits until the player shows frames with different pixels. */
export async function expectMovingPicture(page: Page): Promise<void> {
  await waitUntil(page, pictureMoves, FRAMES_COMPARED);
}

/**
 * Whether one of the next `frames` frames that the player shows, or the page's own video where there is none, differs from the
 * first. Runs in the page.
 */
export async function pictureMoves(frames: number): Promise<boolean> {
  const own = () => [...document.querySelectorAll('video')].find(({ videoWidth }) => videoWidth > 0);
  const video = document.querySelector('aforo-player')?.video ?? own();
  if (!video) return false;
  const canvas = Object.assign(document.createElement('canvas'), { width: 64, height: 36 });
  const context = canvas.getContext('2d', { willReadFrequently: true });
  const pixels = () =>
    new Promise<Uint8ClampedArray>((resolve) => {
      video.requestVideoFrameCallback(() => {
        context?.drawImage(video, 0, 0, 64, 36);
        resolve(context?.getImageData(0, 0, 64, 36).data ?? new Uint8ClampedArray());
      });
    });
  const first = await pixels();
  for (let frame = 0; frame < frames; frame += 1) {
    const next = await pixels();
    // Codec noise moves a value by a few steps; a moving picture moves many values by many.
    if (first.filter((value, index) => Math.abs(value - (next[index] ?? 0)) > 24).length > 20) return true;
  }
  return false;
}

/** Turns the sound on and waits until a WebAudio analyser hears something. */
export async function expectSound(page: Page): Promise<void> {
  await page.evaluate(() => {
    const video = document.querySelector('aforo-player')?.video;
    if (!video) throw new Error('no player');
    video.muted = false;
    const context = new AudioContext();
    const analyser = context.createAnalyser();
    context.createMediaStreamSource(video.srcObject as MediaStream).connect(analyser);
    Object.assign(window, { analyser });
  });
  await page.waitForFunction(() => {
    const { analyser } = window as unknown as { analyser: AnalyserNode };
    const samples = new Float32Array(analyser.fftSize);
    analyser.getFloatTimeDomainData(samples);
    return Math.sqrt(samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length) > 0.01;
  });
}

/** The next statistics of the watch page's player for which `matches` holds. */
export async function nextSample(
  page: Page,
  matches: Partial<Record<keyof PlaybackSample, string>> = {},
): Promise<PlaybackSample> {
  const handle = await page.evaluateHandle(
    (wanted) =>
      new Promise<PlaybackSample>((resolve) => {
        const player = document.querySelector('aforo-player');
        const listener = (event: Event) => {
          const sample = (event as CustomEvent<PlaybackSample>).detail;
          const same = Object.entries(wanted).every(
            ([field, value]) => sample[field as keyof PlaybackSample] === value,
          );
          if (!same || sample.bitrateBps === null) return;
          player?.removeEventListener('aforo-stats', listener);
          resolve(sample);
        };
        player?.addEventListener('aforo-stats', listener);
      }),
    matches,
  );
  return handle.jsonValue();
}

/** How many frames the viewer's session has decoded. */
export async function framesDecoded(page: Page): Promise<number> {
  return (await nextSample(page)).counters.framesDecoded;
}
