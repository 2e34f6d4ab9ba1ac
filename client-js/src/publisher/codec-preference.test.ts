import { expect, test } from 'vitest';
import { orderCodecs, redundantFirst } from './codec-preference.ts';

const codecs = [
  { mimeType: 'video/VP8' },
  { mimeType: 'video/rtx' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=0;profile-level-id=42e01f' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=640034' },
  { mimeType: 'video/H264', sdpFmtpLine: 'packetization-mode=1;profile-level-id=42e01f' },
  { mimeType: 'video/VP9', sdpFmtpLine: 'profile-id=0' },
];

test('the profile that everybody decodes comes first, nothing is left out', () => {
  const ordered = orderCodecs(codecs, 'H264');
  expect(ordered[0]).toBe(codecs[4]);
  expect(ordered.slice(0, 3).every(({ mimeType }) => mimeType === 'video/H264')).toBe(true);
  expect(ordered).toHaveLength(codecs.length);
});

test('the others keep their order', () => {
  expect(orderCodecs(codecs, 'VP9').map(({ mimeType }) => mimeType.slice(6))).toEqual([
    'VP9',
    'VP8',
    'rtx',
    'H264',
    'H264',
    'H264',
  ]);
  expect(orderCodecs(codecs, 'AV1')).toEqual(codecs);
});

test('redundant sound comes before what it repeats, where the browser has it', () => {
  const sound = ['audio/opus', 'audio/red', 'audio/G722', 'audio/PCMU'].map((mimeType) => ({ mimeType }));
  expect(redundantFirst(sound)).toEqual([sound[1], sound[0], sound[2], sound[3]]);
  expect(redundantFirst([{ mimeType: 'audio/opus' }])).toBeNull();
});
