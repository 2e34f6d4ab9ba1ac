import { expect, test } from 'vitest';
import { failureKind, parseRetryAfter } from './failure.ts';

test.each([
  [409, 'whep', 'not-live'],
  [404, 'whep', 'not-live'],
  [409, 'whip', 'taken'],
  [404, 'whip', 'refused'],
  [400, 'whep', 'refused'],
  [401, 'whip', 'unauthorized'],
  [403, 'whep', 'unauthorized'],
  [406, 'whep', 'no-common-codec'],
  [429, 'whip', 'overloaded'],
  [503, 'whep', 'overloaded'],
  [500, 'whep', 'unreachable'],
  [502, 'whip', 'unreachable'],
] as const)('%i for %s means %s', (status, role, kind) => {
  expect(failureKind(status, role)).toBe(kind);
});

test('reads seconds and dates, and nothing else', () => {
  const nowMs = Date.parse('Wed, 21 Oct 2026 07:28:00 GMT');
  expect(parseRetryAfter('3', nowMs)).toBe(3_000);
  expect(parseRetryAfter(' 0 ', nowMs)).toBe(0);
  expect(parseRetryAfter('Wed, 21 Oct 2026 07:28:05 GMT', nowMs)).toBe(5_000);
  expect(parseRetryAfter('Wed, 21 Oct 2026 07:27:00 GMT', nowMs)).toBe(0);
  expect(parseRetryAfter('soon', nowMs)).toBeNull();
  expect(parseRetryAfter(null, nowMs)).toBeNull();
});
