/**
 * Asks whether a stream is on air before it is offered to play it. An offer that comes too early is refused, and browsers
 * write each request that is refused onto their console, where it looks like a fault.
 */

import { DEFAULT_STREAM } from '../name.ts';
import type { Endpoint } from '../session/endpoint.ts';

/** Addresses of WHEP endpoints as our server has them: what is before, the room, the stream. */
const ENDPOINT = /^(.*)\/whep\/([^/?#]+)(?:\/([^/?#]+))?$/;

/** How long an answer is waited for, where an offer could tell as well. */
const PATIENCE_MS = 5_000;

/** For one player. */
export class OnAir {
  /** Servers of others have no such list of rooms, and are not asked again. */
  #answers = true;

  /** Whether the stream of this endpoint can be played now; `null` where only an offer can tell. Never throws. */
  async ask({ url, bearer, fetch }: Endpoint, signal: AbortSignal): Promise<boolean | null> {
    const [, server, room, stream = DEFAULT_STREAM] = ENDPOINT.exec(url) ?? [];
    if (!this.#answers || room === undefined) return null;
    try {
      const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]);
      const response = await bearer.fetch(fetch, `${server}/v1/rooms/${room}`, {
        headers: { Accept: 'application/json' },
        cache: 'no-store',
        signal: patience,
      });
      // Of everything else that may be wrong, the answer to an offer says more.
      if (response.status !== 200) {
        this.#answers = response.status !== 404;
        return null;
      }
      return isLive(await response.json(), stream);
    } catch {
      return null;
    }
  }
}

/** Reads the server's report of a room; `null` if it is none. */
function isLive(report: unknown, stream: string): boolean | null {
  const { streams } = (report ?? {}) as { streams?: unknown };
  if (!Array.isArray(streams)) return null;
  return streams.some((entry: { name?: unknown; live?: unknown } | null) => {
    return entry?.name === stream && entry.live === true;
  });
}
