import { expect, test } from 'vitest';
import { formatBitrate, formatElapsed, formatMs, formatPercent, formatViewers, NO_FIGURE } from './format.ts';
import { describeHealth } from './health.ts';
import { readPlayback } from './playback-sample.ts';
import { type PublishSample, readPublish } from './publish-sample.ts';
import type { StatsEntry } from './report.ts';
import { StallWatch } from './stall.ts';

function report(...entries: Array<Record<string, unknown>>): Map<string, StatsEntry> {
  return new Map(
    entries.map((entry, index) => {
      const id = String(entry.id ?? index);
      return [id, { ...entry, id } as unknown as StatsEntry];
    }),
  );
}

const path = [
  { id: 'T', type: 'transport', selectedCandidatePairId: 'P', srtpCipher: 'AEAD_AES_128_GCM' },
  { id: 'P', type: 'candidate-pair', currentRoundTripTime: 0.042, localCandidateId: 'L' },
  { id: 'L', type: 'local-candidate', protocol: 'udp' },
];

test('reads what a viewer gets, rates from the difference of two samples', () => {
  const at = (bytes: number, packets: number, lost: number, delay: number, emitted: number) =>
    report(
      ...path,
      { id: 'C', type: 'codec', mimeType: 'video/H264' },
      {
        id: 'V',
        type: 'inbound-rtp',
        kind: 'video',
        codecId: 'C',
        bytesReceived: bytes,
        packetsReceived: packets,
        packetsLost: lost,
        jitterBufferDelay: delay,
        jitterBufferEmittedCount: emitted,
        framesDecoded: emitted,
        frameWidth: 1280,
        frameHeight: 720,
        framesPerSecond: 30,
      },
    );
  const first = readPlayback(at(100_000, 100, 0, 3, 100), 1_000, null);
  expect(first).toMatchObject({ bitrateBps: null, lossRatio: null, jitterBufferMs: 30, protocol: 'udp' });
  const second = readPlayback(at(225_000, 190, 10, 3.6, 130), 2_000, first);
  expect(second).toMatchObject({
    bitrateBps: 1_000_000,
    lossRatio: 0.1,
    roundTripMs: 42,
    videoCodec: 'H264',
    audioCodec: null,
    srtpCipher: 'AEAD_AES_128_GCM',
    width: 1280,
  });
  expect(second.jitterBufferMs).toBeCloseTo(20);
});

test('an empty report is a sample without figures', () => {
  const sample = readPlayback(report(), 1_000, null);
  expect(sample).toMatchObject({ width: null, bitrateBps: null, srtpCipher: null, roundTripMs: null });
});

test('reads what a publisher sends; the largest layer stands for the picture', () => {
  const at = (bytes: number, frames: number) =>
    report(
      ...path,
      {
        type: 'outbound-rtp',
        kind: 'video',
        rid: 'q',
        bytesSent: 0,
        framesSent: 1,
        frameWidth: 320,
        frameHeight: 180,
      },
      {
        type: 'outbound-rtp',
        kind: 'video',
        rid: 'f',
        bytesSent: bytes,
        framesSent: frames,
        frameWidth: 1280,
        frameHeight: 720,
        qualityLimitationReason: 'none',
      },
      { type: 'outbound-rtp', kind: 'audio', bytesSent: 0 },
      { type: 'remote-inbound-rtp', kind: 'video', fractionLost: 0.01, roundTripTime: 0.1 },
    );
  const sample = readPublish(at(187_500, 30), 2_000, readPublish(at(0, 0), 1_000, null));
  expect(sample).toMatchObject({
    bitrateBps: 1_500_000,
    framesPerSecond: 30,
    width: 1280,
    lossRatio: 0.01,
    limitedBy: 'none',
    sendsAudio: true,
  });
});

const HEALTHY = {
  bitrateBps: 1_500_000,
  framesPerSecond: 30,
  lossRatio: 0,
  roundTripMs: 20,
  limitedBy: 'none',
  sendsVideo: true,
  sendsAudio: true,
} as PublishSample;

test.each([
  [{}, 'excellent', 'Excellent · 1.5 Mbit/s, 30 fps, no loss'],
  [{ bitrateBps: null }, 'starting', 'Starting…'],
  [{ lossRatio: 0.03 }, 'weak', 'Weak · 1.5 Mbit/s, 30 fps, 3.0 % loss'],
  [{ lossRatio: 0.2 }, 'bad', 'Bad · 1.5 Mbit/s, 30 fps, 20 % loss'],
  [{ limitedBy: 'cpu', framesPerSecond: 15 }, 'weak', 'Weak · 1.5 Mbit/s, 15 fps, no loss'],
  [{ limitedBy: 'bandwidth' }, 'good', 'Good · 1.5 Mbit/s, 30 fps, no loss'],
  [{ bitrateBps: 0 }, 'bad', 'Bad · 0 kbit/s, 30 fps, no loss'],
  [{ roundTripMs: 400 }, 'weak', 'Weak · 1.5 Mbit/s, 30 fps, no loss'],
  [
    { sendsVideo: false, framesPerSecond: null, bitrateBps: 48_000 },
    'excellent',
    'Excellent · 48 kbit/s, no loss',
  ],
  [{ lossRatio: null }, 'excellent', 'Excellent · 1.5 Mbit/s, 30 fps'],
] as const)('%j is %s', (change, level, summary) => {
  const health = describeHealth({ ...HEALTHY, ...change });
  expect(health).toMatchObject({ level, summary });
  expect(health.advice === null).toBe(level === 'excellent' || level === 'starting');
});

test('a stop is told from a freeze, however long it lasts', () => {
  const watch = new StallWatch(0);
  expect(watch.observe(1_000, { packets: 10, frames: 5 })).toBe('flowing');
  expect(watch.observe(2_500, { packets: 20, frames: 5 })).toBe('flowing');
  expect(watch.observe(3_000, { packets: 30, frames: 5 })).toBe('frozen');
  expect(watch.observe(4_000, { packets: 30, frames: 6 })).toBe('flowing');
  expect(watch.observe(5_000, { packets: 30, frames: 6 })).toBe('silent');
  expect(watch.observe(3_600_000, { packets: 30, frames: 6 })).toBe('silent');
  expect(watch.observe(3_601_000, { packets: 31, frames: 7 })).toBe('flowing');
});

test('sound alone never freezes', () => {
  const watch = new StallWatch(0);
  for (let second = 1; second < 10; second += 1) {
    expect(watch.observe(second * 1_000, { packets: second * 50, frames: null })).toBe('flowing');
  }
});

test('figures read as people write them', () => {
  expect([
    formatBitrate(1_540_000),
    formatBitrate(999_600),
    formatBitrate(64_000),
    formatBitrate(null),
  ]).toEqual(['1.5 Mbit/s', '1.0 Mbit/s', '64 kbit/s', NO_FIGURE]);
  expect([formatMs(0), formatMs(4.24), formatMs(41.6), formatMs(null)]).toEqual([
    '0 ms',
    '4.2 ms',
    '42 ms',
    NO_FIGURE,
  ]);
  expect([formatPercent(0), formatPercent(0.004), formatPercent(0.12)]).toEqual(['0 %', '0.4 %', '12 %']);
  expect([formatElapsed(-5), formatElapsed(7_900), formatElapsed(754_000), formatElapsed(3_723_000)]).toEqual(
    ['0:00', '0:07', '12:34', '1:02:03'],
  );
  expect([formatViewers(0), formatViewers(1), formatViewers(1_284)]).toEqual([
    'nobody watching',
    '1 watching',
    '1,284 watching',
  ]);
});
