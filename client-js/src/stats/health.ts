/** Puts a publisher's statistics into words that a person who is on air can act on. */

import { formatBitrate, formatPercent } from './format.ts';
import type { PublishSample } from './publish-sample.ts';

/** From best to worst; `starting` until the first figures are there. */
export type HealthLevel = 'starting' | 'excellent' | 'good' | 'weak' | 'bad';

/** A level, its summary and, below `excellent`, what to do. */
export interface Health {
  readonly level: HealthLevel;
  /** "Excellent · 1.5 Mbit/s, 30 fps, no loss" */
  readonly summary: string;
  readonly advice: string | null;
}

const WORDS: Record<HealthLevel, string> = {
  starting: 'Starting',
  excellent: 'Excellent',
  good: 'Good',
  weak: 'Weak',
  bad: 'Bad',
};

/** Loss that a viewer starts to see as blocks or stutter although it is being repaired. */
const LOSS_WEAK = 0.02;
const LOSS_BAD = 0.08;
/** Below this a moving picture looks like a slide show. */
const FPS_WEAK = 20;
const FPS_BAD = 10;
/** Above this, repair comes too late for the viewers' jitter buffers. */
const ROUND_TRIP_WEAK_MS = 300;

/** Judges `sample`. */
export function describeHealth(sample: PublishSample): Health {
  const { bitrateBps, framesPerSecond, lossRatio } = sample;
  if (bitrateBps === null || (sample.sendsVideo && framesPerSecond === null)) {
    return { level: 'starting', summary: 'Starting…', advice: null };
  }
  const { level, advice } = judge(sample);
  const parts = [formatBitrate(bitrateBps)];
  if (sample.sendsVideo && framesPerSecond !== null) parts.push(`${Math.round(framesPerSecond)} fps`);
  if (lossRatio !== null) parts.push(lossRatio < 0.0005 ? 'no loss' : `${formatPercent(lossRatio)} loss`);
  return { level, summary: `${WORDS[level]} · ${parts.join(', ')}`, advice };
}

function judge(sample: PublishSample): { level: HealthLevel; advice: string | null } {
  const loss = sample.lossRatio ?? 0;
  const fps = sample.sendsVideo ? (sample.framesPerSecond ?? 0) : Number.POSITIVE_INFINITY;
  const roundTrip = sample.roundTripMs ?? 0;
  const network = 'Move closer to your router or use a cable.';
  if ((sample.bitrateBps ?? 0) < 1_000)
    return { level: 'bad', advice: 'Nothing is going out. Check your network.' };
  if (loss >= LOSS_BAD) return { level: 'bad', advice: network };
  if (sample.limitedBy === 'cpu') {
    return {
      level: fps < FPS_BAD ? 'bad' : 'weak',
      advice: 'This computer is busy. Close other programs or tabs.',
    };
  }
  if (fps < FPS_BAD)
    return { level: 'bad', advice: 'Few pictures come from the source. Is it in a hidden tab?' };
  if (loss >= LOSS_WEAK || roundTrip >= ROUND_TRIP_WEAK_MS) return { level: 'weak', advice: network };
  if (fps < FPS_WEAK)
    return { level: 'weak', advice: 'The source gives few pictures. More light helps a camera.' };
  if (sample.limitedBy === 'bandwidth')
    return { level: 'good', advice: 'The picture adapts to your network.' };
  return { level: loss > 0.005 ? 'good' : 'excellent', advice: null };
}
