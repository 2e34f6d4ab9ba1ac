import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { EventStreams } from './event-streams.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

class FakePage extends EventTarget {
  visibilityState: DocumentVisibilityState = 'visible';

  become(state: DocumentVisibilityState): void {
    this.visibilityState = state;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

/** Four players, and how often a stream was opened. */
function four(page: FakePage) {
  const streams = new EventStreams(page as unknown as Document);
  const open = new Set<number>();
  const noticed = new Set<number>();
  const opened = vi.fn((name: number) => open.add(name));
  const leave = [0, 1, 2, 3].map((name) =>
    streams.enter({
      noticed: () => noticed.has(name),
      open: () => opened(name),
      close: () => open.delete(name),
    }),
  );
  /** Which of them are heard or seen on a hidden page. */
  const notice = (...names: number[]) => {
    noticed.clear();
    for (const name of names) noticed.add(name);
    streams.settle();
  };
  return { open: () => [...open].sort(), opened, leave, notice };
}

test('three streams are open, and the next has the turn of one that leaves', () => {
  const { open, leave } = four(new FakePage());
  expect(open()).toEqual([0, 1, 2]);
  leave[1]?.();
  expect(open()).toEqual([0, 2, 3]);
  leave[1]?.();
  expect(open()).toEqual([0, 2, 3]);
});

test('a hidden page keeps one for a while, then none, and gets them back when it is seen', () => {
  const page = new FakePage();
  const { open } = four(page);
  page.become('hidden');
  expect(open()).toEqual([0]);
  vi.advanceTimersByTime(29_000);
  expect(open()).toEqual([0]);
  vi.advanceTimersByTime(2_000);
  expect(open()).toEqual([]);
  page.become('visible');
  expect(open()).toEqual([0, 1, 2]);
});

test('whoever goes through their tabs opens no stream anew', () => {
  const page = new FakePage();
  const { open, opened, leave } = four(page);
  for (const name of [1, 2, 3]) leave[name]?.();
  const before = opened.mock.calls.length;
  for (let times = 0; times < 10; times += 1) {
    page.become('hidden');
    vi.advanceTimersByTime(20_000);
    page.become('visible');
  }
  vi.advanceTimersByTime(60_000);
  expect([open(), opened.mock.calls.length]).toEqual([[0], before]);
});

test('a hidden page goes on hearing for a player that a person notices, for one at most', () => {
  const page = new FakePage();
  const { open, notice } = four(page);
  notice(1, 3);
  page.become('hidden');
  vi.advanceTimersByTime(3_600_000);
  expect(open()).toEqual([1]);
  notice(3);
  expect(open()).toEqual([3]);
  notice();
  expect(open()).toEqual([]);
  notice(2);
  expect(open()).toEqual([2]);
});

test('a page that was never seen has none', () => {
  const page = new FakePage();
  page.visibilityState = 'hidden';
  const { open, notice } = four(page);
  expect(open()).toEqual([]);
  notice(0);
  expect(open()).toEqual([0]);
});
