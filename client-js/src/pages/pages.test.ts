import { expect, test } from 'vitest';
import { readAddress } from './address.ts';
import { curlLine, ffmpegLine } from './home/publish-lines.ts';
import { readRoom } from './rooms.ts';
import { describeMediaProblem, isMissingDevice } from './studio/media-problem.ts';
import { meterLevel, rootMeanSquare } from './studio/mic-level.ts';
import { describePublishProblem } from './studio/publish-problem.ts';
import { CANVAS, containFit, coverCrop, FULL, insetRect, needsComposing } from './studio/scene.ts';
import { statLines } from './watch/stat-lines.ts';

test('reads a page’s address', () => {
  expect(readAddress('/watch/room', '')).toEqual({
    address: { room: 'room', stream: 'main', transport: 'any' },
  });
  expect(readAddress('/watch/room', '?stream=drone&transport=tcp')).toEqual({
    address: { room: 'room', stream: 'drone', transport: 'tcp' },
  });
  expect(readAddress('/watch/two%20words', '')).toMatchObject({ what: 'room', text: 'two words' });
  expect(readAddress('/watch/%zz', '')).toMatchObject({ what: 'room', text: '%zz' });
  expect(readAddress('/studio/', '')).toMatchObject({ what: 'room', text: '' });
  expect(readAddress('/watch/room', '?stream=.x')).toMatchObject({ what: 'stream' });
});

test('reads rooms with streams by name or as objects, and survives what it does not know', () => {
  const room = {
    name: 'r',
    live: true,
    streams: ['main', { name: 'drone', live: true }, { name: 'soon', live: false }, 7],
    viewers: 3,
    more: {},
  };
  expect(readRoom(room)).toEqual({ name: 'r', live: true, streams: ['main', 'drone'], viewers: 3 });
  expect(readRoom(null)).toEqual({ name: '', live: false, streams: [], viewers: 0 });
});

test('the ready lines carry the address', () => {
  expect(ffmpegLine('http://h/whip/r')).toMatch(/-f whip http:\/\/h\/whip\/r$/);
  expect(curlLine('http://h', false)).toBe('curl http://h/v1/rooms');
  expect(curlLine('http://h', true)).toBe("curl -H 'Authorization: Bearer TOKEN' http://h/v1/rooms");
});

test('device problems say what to do', () => {
  const named = (name: string) => Object.assign(new Error('why'), { name });
  expect(describeMediaProblem(named('NotAllowedError'), true).action).toBe('Try again');
  expect(describeMediaProblem(named('NotFoundError'), true).headline).toContain('found');
  expect(describeMediaProblem(named('NotReadableError'), true).headline).toContain('busy');
  expect(describeMediaProblem(named('Odd'), true).detail).toContain('why');
  expect(describeMediaProblem(null, false).action).toBeNull();
  expect(isMissingDevice(named('NotFoundError'))).toBe(true);
  expect(isMissingDevice(named('NotAllowedError'))).toBe(false);
});

test('publish problems are told apart', () => {
  const kinds = [
    'taken',
    'unauthorized',
    'no-common-codec',
    'overloaded',
    'unreachable',
    'lost',
    'refused',
  ] as const;
  const headlines = kinds.map((kind) => describePublishProblem({ kind, message: 'm' }).headline);
  expect(new Set(headlines).size).toBe(kinds.length);
});

test('the meter is linear in decibels from silence to full scale', () => {
  expect(rootMeanSquare(new Float32Array([1, -1, 1, -1]))).toBe(1);
  expect(rootMeanSquare(new Float32Array())).toBe(0);
  expect([0, 1e-9, 1, 2].map(meterLevel)).toEqual([0, 0, 1, 1]);
  expect(meterLevel(10 ** (-30 / 20))).toBeCloseTo(0.5);
});

test('sources keep their shape on the canvas', () => {
  expect(coverCrop({ width: 640, height: 480 }, FULL)).toEqual({ x: 0, y: 60, width: 640, height: 360 });
  expect(containFit({ width: 640, height: 480 }, FULL)).toEqual({ x: 160, y: 0, width: 960, height: 720 });
  const inset = insetRect();
  expect(inset.x + inset.width).toBeLessThan(CANVAS.width);
  expect(inset.y + inset.height).toBeLessThan(CANVAS.height);
});

test('one source without a title is not composed', () => {
  expect(needsComposing('camera', '  ')).toBe(false);
  expect(needsComposing('screen', '')).toBe(false);
  expect(needsComposing('camera', 'Ada')).toBe(true);
  expect(needsComposing('both', '')).toBe(true);
});

test('the statistics panel has every line from the start', () => {
  const lines = statLines(null, null);
  expect(lines).toHaveLength(12);
  expect(lines.every(({ figure }) => figure === '–')).toBe(true);
});
