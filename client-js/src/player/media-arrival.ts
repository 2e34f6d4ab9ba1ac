/** Tells when the media of a new session has arrived, so that a player can change over without a gap. */

import type { WhipWhepSession } from '../session/whip-whep-session.ts';
import { readPlayback } from '../stats/playback-sample.ts';

/** Between two looks: a tenth of what people notice as a delay in something they did not ask for. */
const LOOK_MS = 50;

/** A session without media after this time is not the better one. */
const PATIENCE_MS = 8_000;

/** Resolves with the first decoded frame, or the first packet of a session without video; rejects when none comes. */
export async function mediaArrival(session: WhipWhepSession, signal: AbortSignal): Promise<void> {
  const hasVideo = session.connection
    .getTransceivers()
    .some(
      ({ receiver, currentDirection }) => receiver.track?.kind === 'video' && currentDirection === 'recvonly',
    );
  const until = Date.now() + PATIENCE_MS;
  while (Date.now() < until) {
    signal.throwIfAborted();
    const { packets, framesDecoded } = readPlayback(
      await session.connection.getStats(),
      Date.now(),
      null,
    ).counters;
    if (hasVideo ? framesDecoded > 0 : packets > 0) return;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  throw new Error('no media came');
}
