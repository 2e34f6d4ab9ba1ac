import { expect, test } from 'vitest';
import { readLayers, readWish } from './video-layer.ts';

const simulcast = { spatialLayerId: null, temporalLayerId: null };

test('simulcast layers of both drafts are read, those that are sent, best first', () => {
  const q = { rid: 'q', width: 320, height: 180, bitrate: 100_000 };
  const f = { encodingId: 'f', width: 1280, height: 720, bitrate: 1_500_000, active: true };
  const h = { rid: 'h', width: 640, height: 360, bitrate: 0, active: false };
  const expected = [
    { id: 'f', rid: 'f', ...simulcast, width: 1280, height: 720, bitrateBps: 1_500_000 },
    { id: 'q', rid: 'q', ...simulcast, width: 320, height: 180, bitrateBps: 100_000 },
  ];
  expect(readLayers({ '1': [q, h, f] })).toEqual(expected);
  expect(readLayers({ '1': { layers: [f, q] } })).toEqual(expected);
  expect(readLayers({ '1': [{ rid: 7, bitrate: 1 }, null, 'x'], '2': 7 })).toEqual([]);
});

test('a layer whose size is not known yet keeps its place', () => {
  const q = { rid: 'q', width: 320, height: 180, bitrate: 100_000 };
  const h = { rid: 'h', width: 640, height: 360, bitrate: 500_000 };
  const f = { rid: 'f', bitrate: 1_200_000 };
  expect(readLayers({ '1': [q, h, f] }).map(({ rid }) => rid)).toEqual(['f', 'h', 'q']);
});

/** A part of a scalable layer, each twice as large and half again as frequent as the one below. */
const part = (spatialLayerId: number, temporalLayerId: number, more: object = {}) => ({
  spatialLayerId,
  temporalLayerId,
  width: 320 * 2 ** spatialLayerId,
  height: 180 * 2 ** spatialLayerId,
  bitrate: 100_000 * (1 + spatialLayerId * 3 + temporalLayerId),
  active: true,
  ...more,
});

test('of a scalable video each size may be chosen, with all its pictures', () => {
  const parts = [2, 1, 0].flatMap((spatial) => [1, 0].map((temporal) => part(spatial, temporal)));
  const layers = readLayers({ '1': parts });
  expect(layers.map(({ id, height, bitrateBps }) => [id, height, bitrateBps])).toEqual([
    ['/s2', 720, 800_000],
    ['/s1', 360, 500_000],
    ['/s0', 180, 200_000],
  ]);
  expect(layers.map(({ id }) => readWish(id))).toEqual([
    { spatialLayerId: 2 },
    { spatialLayerId: 1 },
    { spatialLayerId: 0 },
  ]);
});

test('a size that is not sent is not offered, and sizes that are not known keep their order', () => {
  const off = { active: false, bitrate: 0 };
  const layers = readLayers({ '1': [part(0, 0), part(1, 0), part(2, 0, off)] });
  expect(layers.map(({ id }) => id)).toEqual(['/s1', '/s0']);
  const unknown = { width: undefined, height: undefined };
  expect(readLayers({ '1': [part(0, 0, unknown), part(1, 0, unknown)] }).map(({ id }) => id)).toEqual([
    '/s1',
    '/s0',
  ]);
});

test('of one size the temporal layers may be chosen', () => {
  const layers = readLayers({ '1': [part(0, 2), part(0, 1), part(0, 0)] });
  expect(layers.map(({ id }) => readWish(id))).toEqual([
    { temporalLayerId: 2 },
    { temporalLayerId: 1 },
    { temporalLayerId: 0 },
  ]);
});

test('simulcast with layers of its own offers its sizes', () => {
  const layers = readLayers({
    '1': ['f', 'q'].flatMap((rid, index) =>
      [1, 0].map((temporal) => part(1 - index, temporal, { rid, spatialLayerId: 0 })),
    ),
  });
  expect(layers.map(({ id }) => readWish(id))).toEqual([{ rid: 'f' }, { rid: 'q' }]);
  const both = readLayers({
    '1': ['f', 'q'].flatMap((rid) => [1, 0].map((spatial) => part(spatial, 0, { rid }))),
  });
  expect(new Set(both.map(({ id }) => id))).toEqual(new Set(['f/s1', 'f/s0', 'q/s1', 'q/s0']));
});

test('a video without layers is one', () => {
  const layers = readLayers({ '1': [{ spatialLayerId: 0, temporalLayerId: 0, bitrate: 1 }] });
  expect(layers).toHaveLength(1);
  expect(layers.map(({ id }) => readWish(id))).toEqual([{}]);
});

test('an id is understood before it is known which layers there are', () => {
  expect(['f', '/s1', '/t0', 'f/s2/t1', 'odd/name', ''].map(readWish)).toEqual([
    { rid: 'f' },
    { spatialLayerId: 1 },
    { temporalLayerId: 0 },
    { rid: 'f', spatialLayerId: 2, temporalLayerId: 1 },
    { rid: 'odd/name' },
    {},
  ]);
});
