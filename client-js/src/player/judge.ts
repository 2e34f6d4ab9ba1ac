/** What a player does after a failure. */

import { backoffMs, DEFAULT_BACKOFF, politeDelayMs } from '../backoff.ts';
import type { Judge } from '../session/session-keeper.ts';

/** Time between questions for a stream that is not live, when the server names none. */
const NOT_LIVE_RETRY_MS = 2_000;

/** When a stream ends, all who watched it lose it at one moment; they ask again spread over this time. */
const CROWD_SPREAD_MS = 1_000;

/**
 * A stream that is not live is waited for, for as long as the page is open. Only what cannot become better by itself
 * ends the player: a missing grant, a codec that this browser lacks, a request that the server calls wrong.
 */
export const judgePlayer: Judge = (failure, { attempt }) => {
  switch (failure.kind) {
    case 'unauthorized':
    case 'refused':
    case 'no-common-codec':
      return 'give-up';
    case 'not-live':
      return {
        state: 'waiting',
        delayMs: politeDelayMs(failure.retryAfterMs ?? NOT_LIVE_RETRY_MS, Math.random),
      };
    case 'lost': {
      const delayMs = Math.max(
        backoffMs(attempt, DEFAULT_BACKOFF, Math.random),
        Math.random() * CROWD_SPREAD_MS,
      );
      return { state: 'reconnecting', delayMs };
    }
    default: {
      const own = backoffMs(attempt, DEFAULT_BACKOFF, Math.random);
      const delayMs = failure.retryAfterMs === null ? own : politeDelayMs(failure.retryAfterMs, Math.random);
      return { state: 'reconnecting', delayMs };
    }
  }
};
