/** How loud a microphone is, on the scale of a meter. */

/** Quietest level that the meter shows, in decibels below full scale: the noise of a quiet room. */
const FLOOR_DB = -60;

/** Root mean square of `samples`, each in [-1, 1]. */
export function rootMeanSquare(samples: Float32Array): number {
  let sum = 0;
  for (const sample of samples) sum += sample * sample;
  return samples.length === 0 ? 0 : Math.sqrt(sum / samples.length);
}

/** 0 (silent) to 1 (full scale), linear in decibels as ears are. */
export function meterLevel(rms: number): number {
  if (rms <= 0) return 0;
  const db = 20 * Math.log10(rms);
  return Math.min(1, Math.max(0, 1 - db / FLOOR_DB));
}
