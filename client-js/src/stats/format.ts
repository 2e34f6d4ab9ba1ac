/** Figures as people read them. */

/** Shown where there is no figure. */
export const NO_FIGURE = '–';

/** `1.5 Mbit/s`, `640 kbit/s`. */
export function formatBitrate(bps: number | null): string {
  if (bps === null) return NO_FIGURE;
  if (bps >= 999_500) return `${(bps / 1e6).toFixed(1)} Mbit/s`;
  return `${Math.round(bps / 1000)} kbit/s`;
}

/** `12 ms`; one decimal below 10. */
export function formatMs(ms: number | null): string {
  if (ms === null) return NO_FIGURE;
  return ms < 9.95 && ms > 0 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
}

/** `0 %`, `0.4 %`, `12 %` of a ratio. */
export function formatPercent(ratio: number | null): string {
  if (ratio === null) return NO_FIGURE;
  const percent = ratio * 100;
  return percent > 0 && percent < 9.95 ? `${percent.toFixed(1)} %` : `${Math.round(percent)} %`;
}

/** `0:07`, `12:34`, `1:02:03`. */
export function formatElapsed(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const two = (value: number) => String(value).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours > 0 ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

/** `nobody watching`, `1 watching`, `1,234 watching`. */
export function formatViewers(viewers: number): string {
  return viewers === 0 ? 'nobody watching' : `${viewers.toLocaleString('en')} watching`;
}
