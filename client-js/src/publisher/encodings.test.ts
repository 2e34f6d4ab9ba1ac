import { expect, test } from 'vitest';
import { videoEncodings, worthSimulcast } from './encodings.ts';

const track = (settings: MediaTrackSettings, kind = 'video') =>
  ({ kind, getSettings: () => settings }) as unknown as MediaStreamTrack;

test('a camera of 720 lines is sent in three sizes, whichever way it is held', () => {
  const camera = { deviceId: 'front', width: 1280, height: 720 };
  expect(worthSimulcast(track(camera), 'H264')).toBe(true);
  expect(worthSimulcast(track({ ...camera, width: 720, height: 1280 }), 'VP8')).toBe(true);
});

test.each([
  ['a small camera', { deviceId: 'front', width: 640, height: 480 }, 'H264'],
  ['a screen', { deviceId: 'screen', width: 1920, height: 1080, displaySurface: 'monitor' }, 'H264'],
  ['a canvas', { width: 1280, height: 720 }, 'H264'],
  ['a codec with layers of its own', { deviceId: 'front', width: 1280, height: 720 }, 'VP9'],
] as const)('%s is sent in one', (_, settings, codec) => {
  expect(worthSimulcast(track(settings), codec)).toBe(false);
});

test('without a picture there is nothing to send', () => {
  expect(worthSimulcast(null, 'H264')).toBe(false);
  expect(worthSimulcast(track({ deviceId: 'a' }, 'audio'), 'H264')).toBe(false);
});

test('the largest size gets the bitrate that was asked for', () => {
  expect(videoEncodings(1_200_000, false)).toEqual([{ maxBitrate: 1_200_000 }]);
  const three = videoEncodings(1_200_000, true);
  expect(three.map(({ maxBitrate }) => maxBitrate)).toEqual([100_000, 300_000, 1_200_000]);
  expect(three.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy)).toEqual([4, 2, 1]);
});
