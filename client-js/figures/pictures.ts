/** When a viewer was shown a picture, and for how long it was shown none. */

import type { Page } from 'playwright-core';

/** Keeps, on the page, when each picture was shown, in ms of the wall clock, and what is known of it. */
export function recordPictures(): void {
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
export function describePictures(afterMs: number): string {
  const { pictures } = window as unknown as { pictures: Picture[] };
  const since = pictures.filter((picture) => picture.atMs > afterMs);
  const first = since.filter((picture, place) => picture.width !== since[place - 1]?.width);
  const ms = (atMs: number) => `+${Math.round(atMs - afterMs)}`;
  return first.map(({ atMs, receivedMs, width }) => `${width} px ${ms(receivedMs)} ${ms(atMs)}`).join(', ');
}

/** When the first picture after `afterMs` was shown, once there is one. */
export async function firstPictureAfter(page: Page, afterMs: number): Promise<number> {
  const handle = await page.waitForFunction(
    (after) => (window as unknown as { shown: number[] }).shown.find((atMs) => atMs > after),
    afterMs,
  );
  return (await handle.jsonValue()) as number;
}

/** The longest time without a new picture since `sinceMs`. */
export function longestGapMs(sinceMs: number): number {
  const { shown } = window as unknown as { shown: number[] };
  const steps = shown.map((atMs, index) => (atMs < sinceMs ? 0 : atMs - (shown[index - 1] ?? atMs)));
  return Math.max(...steps);
}
