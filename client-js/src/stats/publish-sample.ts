/** What a publisher's connection is like, once a second. */

import {
  bitrateBps,
  codecName,
  numberOf,
  ratePerSecond,
  type StatsEntry,
  StatsIndex,
  type StatsSource,
  textOf,
  toMs,
} from './report.ts';

/** Counters that the next sample is compared with. */
export interface PublishCounters {
  readonly atMs: number;
  readonly bytes: number;
  readonly framesSent: number;
}

/** One sample. `null` means that the browser does not say (yet). */
export interface PublishSample {
  readonly counters: PublishCounters;
  /** Whether a video and an audio track are being sent at all. */
  readonly sendsVideo: boolean;
  readonly sendsAudio: boolean;
  readonly width: number | null;
  readonly height: number | null;
  readonly framesPerSecond: number | null;
  /** All layers and audio together, in bit/s. */
  readonly bitrateBps: number | null;
  /** As the server reported it in its last RTCP receiver report, 0 to 1. */
  readonly lossRatio: number | null;
  readonly roundTripMs: number | null;
  /** Why the encoder sends less than it was asked for: `bandwidth`, `cpu`, `other` or `none`. */
  readonly limitedBy: string | null;
  readonly videoCodec: string | null;
  readonly srtpCipher: string | null;
  readonly protocol: string | null;
}

/** Reads a sample; `previous` is the sample before it on the same connection. */
export function readPublish(
  report: StatsSource,
  atMs: number,
  previous: PublishSample | null,
): PublishSample {
  const index = new StatsIndex(report);
  const videos = index.all('outbound-rtp', (entry) => entry.kind === 'video');
  const audio = index.find('outbound-rtp', (entry) => entry.kind === 'audio');
  const { roundTripSeconds, srtpCipher, protocol } = index.path;
  const top = largest(videos);
  const sum = (field: string) =>
    [...videos, ...(audio ? [audio] : [])].reduce((total, entry) => total + (numberOf(entry, field) ?? 0), 0);
  const counters = { atMs, bytes: sum('bytesSent'), framesSent: numberOf(top, 'framesSent') ?? 0 };
  const elapsedMs = previous ? atMs - previous.counters.atMs : null;
  const remote = index.find('remote-inbound-rtp', (entry) => entry.kind === (top ? 'video' : 'audio'));
  return {
    counters,
    sendsVideo: videos.length > 0,
    sendsAudio: audio !== undefined,
    width: numberOf(top, 'frameWidth'),
    height: numberOf(top, 'frameHeight'),
    framesPerSecond: ratePerSecond(counters.framesSent, previous?.counters.framesSent, elapsedMs),
    bitrateBps: bitrateBps(counters, previous?.counters),
    lossRatio: numberOf(remote, 'fractionLost'),
    roundTripMs: toMs(roundTripSeconds ?? numberOf(remote, 'roundTripTime')),
    limitedBy: textOf(top, 'qualityLimitationReason'),
    videoCodec: codecName(index.byId(top?.codecId)),
    srtpCipher,
    protocol,
  };
}

/** The simulcast layer with the most pixels, which is what people mean by "the" resolution. */
function largest(videos: readonly StatsEntry[]): StatsEntry | undefined {
  const pixels = (entry: StatsEntry) =>
    (numberOf(entry, 'frameWidth') ?? 0) * (numberOf(entry, 'frameHeight') ?? 0);
  return [...videos].sort((a, b) => pixels(b) - pixels(a))[0];
}
