import { expect, test } from 'vitest';
import { backoffMs, politeDelayMs } from './backoff.ts';

const bounds = { firstMs: 300, maxMs: 15_000 };

test('doubles up to the most and stays there', () => {
  const delays = [0, 1, 2, 5, 6, 1000].map((attempt) => backoffMs(attempt, bounds, () => 0));
  expect(delays).toEqual([300, 600, 1200, 9600, 15_000, 15_000]);
});

test('jitter takes off at most half', () => {
  expect(backoffMs(0, bounds, () => 0.999_999)).toBe(150);
});

test('never asks before the server wants to be asked', () => {
  expect(politeDelayMs(2_000, () => 0)).toBe(2_000);
  expect(politeDelayMs(2_000, () => 0.999_999)).toBe(2_400);
});
