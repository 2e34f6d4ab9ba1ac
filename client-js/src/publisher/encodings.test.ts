import { expect, test } from 'vitest';
import { videoEncodings, worthScaling, worthSimulcast } from './encodings.ts';

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
] as const)('%s is sent in one', (_, settings, codec) => {
  expect(worthSimulcast(track(settings), codec)).toBe(false);
  expect(worthScaling(track(settings), 'VP9')).toBeNull();
});

test('codecs with sizes within one stream send them there', () => {
  const camera = track({ deviceId: 'front', width: 1280, height: 720 });
  expect((['VP9', 'AV1', 'VP8'] as const).map((codec) => worthScaling(camera, codec))).toEqual([
    'L3T3_KEY',
    'L3T3_KEY',
    null,
  ]);
  expect((['VP9', 'AV1', 'VP8'] as const).map((codec) => worthSimulcast(camera, codec))).toEqual([
    false,
    false,
    true,
  ]);
});

test('without a picture there is nothing to send', () => {
  expect(worthSimulcast(null, 'H264')).toBe(false);
  expect(worthSimulcast(track({ deviceId: 'a' }, 'audio'), 'H264')).toBe(false);
});

test('the largest size gets the bitrate that was asked for', () => {
  expect(videoEncodings(1_200_000, false, null)).toEqual([{ maxBitrate: 1_200_000 }]);
  const layered = [{ maxBitrate: 1_200_000, scalabilityMode: 'L2T1' }];
  expect(videoEncodings(1_200_000, false, 'L2T1')).toEqual(layered);
  const three = videoEncodings(1_200_000, true, null);
  expect(three.map(({ maxBitrate }) => maxBitrate)).toEqual([100_000, 300_000, 1_200_000]);
  expect(three.map(({ scaleResolutionDownBy }) => scaleResolutionDownBy)).toEqual([4, 2, 1]);
});
