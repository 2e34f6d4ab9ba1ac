import { expect, test } from 'vitest';
import { RecoveryCore } from './recovery.ts';

const limits = { connectMs: 10_000, graceMs: 2_000, restartMs: 4_000, maxRestarts: 2 };

function connected(): RecoveryCore {
  const core = new RecoveryCore(limits, 0);
  expect(core.handle(100, { kind: 'transport', state: 'connected' })).toEqual(['connected']);
  return core;
}

test('a session that never connects is lost at its limit, not before', () => {
  const core = new RecoveryCore(limits, 0);
  expect(core.deadlineMs).toBe(10_000);
  expect(core.handleDeadline(9_999)).toEqual([]);
  expect(core.handleDeadline(10_000)).toEqual(['lost']);
  expect(core.handle(10_001, { kind: 'transport', state: 'connected' })).toEqual([]);
});

test('a path that comes back within the grace needs no restart', () => {
  const core = connected();
  expect(core.handle(1_000, { kind: 'transport', state: 'disconnected' })).toEqual(['interrupted']);
  expect(core.handle(2_500, { kind: 'transport', state: 'connected' })).toEqual(['connected']);
  expect(core.deadlineMs).toBeNull();
});

test('a path that stays away is restarted, twice, then given up', () => {
  const core = connected();
  core.handle(1_000, { kind: 'transport', state: 'disconnected' });
  expect(core.handleDeadline(3_000)).toEqual(['restart']);
  expect(core.handle(3_100, { kind: 'restart-answered' })).toEqual([]);
  expect(core.handleDeadline(7_000)).toEqual(['restart']);
  expect(core.handleDeadline(11_000)).toEqual(['lost']);
});

test('a failed path is restarted at once', () => {
  expect(connected().handle(1_000, { kind: 'transport', state: 'failed' })).toEqual([
    'interrupted',
    'restart',
  ]);
});

test('a restart that works starts the count anew', () => {
  const core = connected();
  for (let round = 0; round < 5; round += 1) {
    const nowMs = 1_000 + round * 10_000;
    expect(core.handle(nowMs, { kind: 'transport', state: 'failed' })).toContain('restart');
    expect(core.handle(nowMs + 500, { kind: 'transport', state: 'connected' })).toEqual(['connected']);
  }
});

test('another network restarts a path that still seems up, and its answer ends the matter', () => {
  const core = connected();
  expect(core.handle(1_000, { kind: 'network-changed' })).toEqual(['restart']);
  expect(core.handle(1_001, { kind: 'network-changed' })).toEqual([]);
  expect(core.handle(1_200, { kind: 'restart-answered' })).toEqual(['connected']);
  expect(core.deadlineMs).toBeNull();
});

test('a refused restart leaves a working path alone and ends a session that the server forgot', () => {
  const kept = connected();
  kept.handle(1_000, { kind: 'network-changed' });
  expect(kept.handle(1_100, { kind: 'restart-refused', final: false })).toEqual(['connected']);
  const gone = connected();
  gone.handle(1_000, { kind: 'network-changed' });
  expect(gone.handle(1_100, { kind: 'restart-refused', final: true })).toEqual(['lost']);
});

test('a network change before the first connection changes nothing', () => {
  expect(new RecoveryCore(limits, 0).handle(10, { kind: 'network-changed' })).toEqual([]);
});
