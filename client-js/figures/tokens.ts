/** Access tokens of a key that lasts as long as a figure. */

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { BINARY } from '../e2e/server.ts';

/** See the module. */
export class Tokens {
  readonly #folder = mkdtempSync(join(tmpdir(), 'aforo-figures-'));
  readonly #key = join(this.#folder, 'private.json');
  readonly #public = join(this.#folder, 'public.json');

  constructor() {
    writeFileSync(this.#public, this.#aforo(['keygen', '--key', this.#key]));
  }

  /** What a server needs to know these tokens. */
  get environment(): Record<string, string> {
    return { AFORO__AUTH__KEY_FILES: this.#public };
  }

  /** A token to publish and to watch in `room`. */
  create(room: string, priority: number): string {
    const grants = ['--room', room, '--publish', '--subscribe', '--priority', String(priority)];
    return this.#aforo(['create', '--key', this.#key, '--ttl', '1h', ...grants]).trim();
  }

  forget(): void {
    rmSync(this.#folder, { recursive: true });
  }

  #aforo(words: readonly string[]): string {
    return execFileSync(BINARY, ['token', ...words], { encoding: 'utf8' });
  }
}
