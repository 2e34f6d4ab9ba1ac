/** The player's quality menu, as a person uses it. */

import type { Page } from 'playwright-core';

/** Short of this a freeze is one that encoders on busy cores make, not one of a viewer who waits for a keyframe. */
export const FREEZE_MAX_SECONDS = 1;

/** Opens the menu and takes the entry of this name, or the one at this place: 0 leaves the choice to the server, -1 is the lowest. */
export async function chooseQuality(page: Page, which: string | number): Promise<void> {
  await page.hover('aforo-player');
  await page.getByRole('button', { name: /^Quality/ }).click();
  const entries = page.getByRole('menuitemradio');
  const entry = typeof which === 'number' ? entries.nth(which) : entries.filter({ hasText: which }).first();
  await entry.click();
}
