/** What the statistics panel says about a sample. */

import { formatBitrate, formatMs, formatPercent, NO_FIGURE } from '../../stats/format.ts';
import type { PlaybackSample } from '../../stats/playback-sample.ts';

/** A caption and a figure; `small` for long technical names. */
export interface StatLine {
  readonly caption: string;
  readonly figure: string;
  readonly small?: true;
}

/** The lines for `sample`, or with no figures before the first one; `firstFrameMs` is how long the start took. */
export function statLines(sample: PlaybackSample | null, firstFrameMs: number | null): StatLine[] {
  const size = sample?.width && sample.height ? `${sample.width} × ${sample.height}` : NO_FIGURE;
  const fps = sample?.framesPerSecond ?? null;
  const codecs = [sample?.videoCodec, sample?.audioCodec].filter((codec) => codec != null);
  return [
    { caption: 'Resolution', figure: size },
    { caption: 'Frame rate', figure: fps === null ? NO_FIGURE : `${Math.round(fps)} fps` },
    { caption: 'Bitrate', figure: formatBitrate(sample?.bitrateBps ?? null) },
    { caption: 'Loss', figure: formatPercent(sample?.lossRatio ?? null) },
    { caption: 'Round trip', figure: formatMs(sample?.roundTripMs ?? null) },
    { caption: 'Jitter buffer', figure: formatMs(sample?.jitterBufferMs ?? null) },
    { caption: 'First picture after', figure: formatMs(firstFrameMs) },
    { caption: 'Freezes', figure: freezes(sample) },
    { caption: 'Dropped frames', figure: String(sample?.framesDropped ?? NO_FIGURE) },
    { caption: 'Codecs', figure: codecs.join(' + ') || NO_FIGURE },
    { caption: 'Transport', figure: transport(sample?.protocol ?? null) },
    { caption: 'Encryption', figure: cipher(sample?.srtpCipher ?? null), small: true },
  ];
}

function freezes(sample: PlaybackSample | null): string {
  if (sample?.freezeCount == null) return NO_FIGURE;
  if (sample.freezeCount === 0) return 'none';
  return `${sample.freezeCount}, ${(sample.freezeSeconds ?? 0).toFixed(1)} s`;
}

function transport(protocol: string | null): string {
  return protocol === null ? NO_FIGURE : protocol.toUpperCase();
}

/** The registered names (RFC 7714, RFC 3711) without the parts that only repeat the obvious. */
function cipher(name: string | null): string {
  return name === null ? NO_FIGURE : name.replace(/^(SRTP_)?AEAD_/, '').replaceAll('_', '-');
}
