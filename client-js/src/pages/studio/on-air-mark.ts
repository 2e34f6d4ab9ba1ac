/** What a tab remembers of being on air: what is left of it after a crash tells of a ghost. */

import { openStorage } from '../access/token-store.ts';

const KEY = 'aforo-on-air';

/** The address on which this tab is on air; nothing where the browser lets pages store nothing, or no more. */
export class OnAirMark {
  constructor(
    private readonly storage: Pick<Storage, 'getItem' | 'setItem' | 'removeItem'> | null = openStorage(),
  ) {}

  read(): string | null {
    return this.storage?.getItem(KEY) ?? null;
  }

  set(url: string): void {
    try {
      this.storage?.setItem(KEY, url);
    } catch {
      // Then a reload after a crash waits for the ghost to go.
    }
  }

  clear(): void {
    this.storage?.removeItem(KEY);
  }
}
