import { expect, test } from 'vitest';
import { HoldBack } from './hold-back.ts';

const CALM = { packets: 0, nacks: 0, freezes: 0, roundTripMs: 50 };

/** Feeds a second each: packets asked for again, and freezes, of 200 packets. */
function run(holdBack: HoldBack, seconds: Array<{ nacks?: number; freezes?: number }>): Array<number | null> {
  let [at, now] = [0, CALM];
  holdBack.observe(at, now);
  return seconds.map(({ nacks = 0, freezes = 0 }) => {
    at += 1_000;
    now = {
      ...now,
      packets: now.packets + 200,
      nacks: now.nacks + nacks,
      freezes: now.freezes + freezes,
    };
    return holdBack.observe(at, now);
  });
}

test('a path that loses little is left to the browser', () => {
  expect(run(new HoldBack(), [{}, { nacks: 1 }, { nacks: 1, freezes: 1 }])).toEqual([null, null, null]);
});

test('a lossy path is given time for repairs, and more with each freeze, up to a bound', () => {
  const lossy = { nacks: 10 };
  expect(run(new HoldBack(), [lossy, { ...lossy, freezes: 1 }, lossy])).toEqual([300, 400, 400]);
  const bad = Array.from({ length: 9 }, () => ({ nacks: 10, freezes: 1 }));
  expect(run(new HoldBack(), bad).at(-1)).toBe(600);
});

test('what was held back is given back some time after the last loss', () => {
  const quiet = Array.from({ length: 20 }, () => ({}));
  const targets = run(new HoldBack(), [{ nacks: 10, freezes: 1 }, ...quiet, { nacks: 10 }]);
  expect(targets.slice(0, 20)).toEqual(Array.from({ length: 20 }, () => 400));
  expect(targets.slice(20)).toEqual([null, 300]);
});

test('a round trip that nobody knows yet counts as none', () => {
  const holdBack = new HoldBack();
  holdBack.observe(0, { ...CALM, roundTripMs: null });
  expect(holdBack.observe(1_000, { packets: 100, nacks: 5, freezes: 0, roundTripMs: null })).toBe(100);
});
