/** How long to wait before the next attempt, so that a crowd that lost its server does not return as one. */

/** The bounds of a backoff, in milliseconds. */
export interface BackoffBounds {
  /** The first delay, before jitter. */
  readonly firstMs: number;
  /** No delay is longer than this. */
  readonly maxMs: number;
}

/**
 * Quick enough that a short outage is a blink, and at most 15 s because a person who watches a spinner for longer
 * reloads the page anyway.
 */
export const DEFAULT_BACKOFF: BackoffBounds = { firstMs: 300, maxMs: 15_000 };

/**
 * The delay before attempt `attempt` (0 for the first repeat): doubling from `firstMs` to `maxMs`, of which a random
 * half is taken off. `random` gives a number in [0, 1).
 */
export function backoffMs(attempt: number, bounds: BackoffBounds, random: () => number): number {
  const full = Math.min(bounds.maxMs, bounds.firstMs * 2 ** Math.min(attempt, 30));
  return Math.round(full * (1 - random() / 2));
}

/**
 * The delay when the server named one: never shorter, up to a fifth longer, so that viewers who were told the same
 * number spread out.
 */
export function politeDelayMs(retryAfterMs: number, random: () => number): number {
  return Math.round(retryAfterMs * (1 + random() / 5));
}
