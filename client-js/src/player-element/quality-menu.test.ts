import { expect, test } from 'vitest';
import { qualityChoices, qualityLabel } from './quality-menu.ts';

const layer = (rid: string, height: number | null, bitrateBps: number) => ({
  id: rid,
  rid,
  spatialLayerId: null,
  temporalLayerId: null as number | null,
  height,
  width: height === null ? null : (height * 16) / 9,
  bitrateBps,
});
const layers = [layer('f', 720, 1_500_000), layer('h', 360, 450_000), layer('q', 180, 90_000)];

test('automatic comes first and says what it gives', () => {
  const choices = qualityChoices({ layers, selected: null, shownHeight: 360 });
  expect(choices).toEqual([
    { id: null, name: 'Auto', detail: 'now 360p', chosen: true },
    { id: 'f', name: '720p', detail: '1.5 Mbit/s', chosen: false },
    { id: 'h', name: '360p', detail: '450 kbit/s', chosen: false },
    { id: 'q', name: '180p', detail: '90 kbit/s', chosen: false },
  ]);
  expect(qualityLabel(choices)).toBe('Auto');
});

test('a chosen layer is marked, and names the button', () => {
  const choices = qualityChoices({ layers, selected: 'h', shownHeight: 360 });
  expect(choices.filter(({ chosen }) => chosen)).toEqual([
    { id: 'h', name: '360p', detail: '450 kbit/s', chosen: true },
  ]);
  expect(choices[0]?.detail).toBe('');
  expect(qualityLabel(choices)).toBe('360p');
});

test('sizes that are not known yet get words', () => {
  const unknown = layers.map(({ rid, bitrateBps }) => layer(rid, null, bitrateBps));
  const names = qualityChoices({ layers: unknown, selected: null, shownHeight: 0 }).map(({ name }) => name);
  expect(names).toEqual(['Auto', 'Best', 'Medium', 'Lowest']);
});

test('one layer is no choice', () => {
  expect(qualityChoices({ layers: layers.slice(0, 1), selected: null, shownHeight: 720 })).toEqual([]);
});

test('layers that differ in how often a picture comes say so', () => {
  const three = [2, 1, 0].map((temporalLayerId) => ({
    ...layer('', 720, 100_000 * (temporalLayerId + 1)),
    id: `/t${temporalLayerId}`,
    temporalLayerId,
  }));
  const choices = qualityChoices({ layers: three, selected: '/t1', shownHeight: 720 });
  expect(choices.map(({ name }) => name)).toEqual(['Auto', 'Smooth', 'Less smooth', 'Least smooth']);
  expect(qualityLabel(choices)).toBe('Less smooth');
});

test('a picture that is held upright is called by its width', () => {
  const upright = layers.map((one) => ({ ...one, width: one.height, height: one.width }));
  const names = qualityChoices({ layers: upright, selected: null, shownHeight: 0 }).map(({ name }) => name);
  expect(names).toEqual(['Auto', '720p', '360p', '180p']);
});
