import { expect, test } from 'vitest';
import { qualityChoices, qualityLabel } from './quality-menu.ts';

const layer = (rid: string, height: number | null, bitrateBps: number) => ({
  rid,
  height,
  width: height === null ? null : (height * 16) / 9,
  bitrateBps,
});
const layers = [layer('f', 720, 1_500_000), layer('h', 360, 450_000), layer('q', 180, 90_000)];

test('automatic comes first and says what it gives', () => {
  const choices = qualityChoices({ layers, selected: null, shownHeight: 360 });
  expect(choices).toEqual([
    { rid: null, name: 'Auto', detail: 'now 360p', chosen: true },
    { rid: 'f', name: '720p', detail: '1.5 Mbit/s', chosen: false },
    { rid: 'h', name: '360p', detail: '450 kbit/s', chosen: false },
    { rid: 'q', name: '180p', detail: '90 kbit/s', chosen: false },
  ]);
  expect(qualityLabel(choices)).toBe('Auto');
});

test('a chosen layer is marked, and names the button', () => {
  const choices = qualityChoices({ layers, selected: 'h', shownHeight: 360 });
  expect(choices.filter(({ chosen }) => chosen)).toEqual([
    { rid: 'h', name: '360p', detail: '450 kbit/s', chosen: true },
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
