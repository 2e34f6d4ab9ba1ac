/** The form in which a page asks for a token, as a person fills it in. */

import type { Page } from 'playwright-core';
import { waitForState } from './browser.ts';

/** Fills the form in. */
export async function give(page: Page, token: string): Promise<void> {
  await page.getByLabel('Access token', { exact: true }).and(page.locator('input')).fill(token);
  await page.locator('.tokenform button').click();
}

/** Goes live in a studio that asks for a token. */
export async function goLiveWith(studio: Page, token: string): Promise<void> {
  await studio.waitForFunction(() => document.querySelector<HTMLVideoElement>('#preview')?.videoWidth);
  await studio.check('input[name=codec][value=VP8]');
  await studio.click('#golive');
  await give(studio, token);
  await waitForState(studio, 'live');
}
