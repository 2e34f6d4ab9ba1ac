/** What a viewer's connection is like, once a second. */

import {
  bitrateBps,
  codecName,
  numberOf,
  type StatsEntry,
  StatsIndex,
  type StatsSource,
  toMs,
} from './report.ts';

/** Counters that the next sample is compared with. */
export interface PlaybackCounters {
  readonly atMs: number;
  readonly bytes: number;
  readonly packets: number;
  readonly lost: number;
  /** Packets that the browser asked for again. */
  readonly nacks: number;
  readonly framesDecoded: number;
  readonly jitterDelaySeconds: number;
  readonly jitterEmitted: number;
}

/** One sample. `null` means that the browser does not say (yet). */
export interface PlaybackSample {
  readonly counters: PlaybackCounters;
  readonly width: number | null;
  readonly height: number | null;
  readonly framesPerSecond: number | null;
  /** Audio and video together, in bit/s. */
  readonly bitrateBps: number | null;
  /** How long frames waited in the jitter buffer since the last sample. */
  readonly jitterBufferMs: number | null;
  readonly roundTripMs: number | null;
  /** Packets missing of those expected since the last sample, 0 to 1, before any repair that came later. */
  readonly lossRatio: number | null;
  readonly videoCodec: string | null;
  readonly audioCodec: string | null;
  readonly srtpCipher: string | null;
  /** `udp` or `tcp`. */
  readonly protocol: string | null;
  readonly freezeCount: number | null;
  readonly freezeSeconds: number | null;
  readonly framesDropped: number | null;
  /** 0 to 1. */
  readonly audioLevel: number | null;
  /** Grows while sound other than silence is heard. */
  readonly audioEnergy: number | null;
}

/** Reads a sample; `previous` is the sample before it on the same connection. */
export function readPlayback(
  report: StatsSource,
  atMs: number,
  previous: PlaybackSample | null,
): PlaybackSample {
  const index = new StatsIndex(report);
  const video = index.find('inbound-rtp', (entry) => entry.kind === 'video');
  const audio = index.find('inbound-rtp', (entry) => entry.kind === 'audio');
  const { roundTripSeconds, srtpCipher, protocol } = index.path;
  const counters = countersOf(atMs, video, audio);
  const before = previous?.counters;
  return {
    counters,
    width: numberOf(video, 'frameWidth'),
    height: numberOf(video, 'frameHeight'),
    framesPerSecond: numberOf(video, 'framesPerSecond'),
    bitrateBps: bitrateBps(counters, before),
    jitterBufferMs: jitterBuffer(counters, before),
    roundTripMs: toMs(roundTripSeconds),
    lossRatio: lossRatio(counters, before),
    videoCodec: codecName(index.byId(video?.codecId)),
    audioCodec: codecName(index.byId(audio?.codecId)),
    srtpCipher,
    protocol,
    freezeCount: numberOf(video, 'freezeCount'),
    freezeSeconds: numberOf(video, 'totalFreezesDuration'),
    framesDropped: numberOf(video, 'framesDropped'),
    audioLevel: numberOf(audio, 'audioLevel'),
    audioEnergy: numberOf(audio, 'totalAudioEnergy'),
  };
}

function countersOf(
  atMs: number,
  video: StatsEntry | undefined,
  audio: StatsEntry | undefined,
): PlaybackCounters {
  const sum = (field: string) => (numberOf(video, field) ?? 0) + (numberOf(audio, field) ?? 0);
  return {
    atMs,
    bytes: sum('bytesReceived'),
    packets: sum('packetsReceived'),
    lost: sum('packetsLost'),
    nacks: sum('nackCount'),
    framesDecoded: numberOf(video, 'framesDecoded') ?? 0,
    jitterDelaySeconds: numberOf(video, 'jitterBufferDelay') ?? 0,
    jitterEmitted: numberOf(video, 'jitterBufferEmittedCount') ?? 0,
  };
}

function jitterBuffer(now: PlaybackCounters, before: PlaybackCounters | undefined): number | null {
  const frames = now.jitterEmitted - (before?.jitterEmitted ?? 0);
  const seconds = now.jitterDelaySeconds - (before?.jitterDelaySeconds ?? 0);
  return frames > 0 && seconds >= 0 ? (seconds / frames) * 1000 : null;
}

function lossRatio(now: PlaybackCounters, before: PlaybackCounters | undefined): number | null {
  if (before === undefined) return null;
  // Late packets take losses back, so the difference can be negative.
  const lost = Math.max(0, now.lost - before.lost);
  const expected = now.packets - before.packets + lost;
  return expected > 0 ? lost / expected : null;
}
