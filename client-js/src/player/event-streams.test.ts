import { expect, test } from 'vitest';
import { EventStreams } from './event-streams.ts';

class FakePage extends EventTarget {
  visibilityState: DocumentVisibilityState = 'visible';

  become(state: DocumentVisibilityState): void {
    this.visibilityState = state;
    this.dispatchEvent(new Event('visibilitychange'));
  }
}

function four(streams: EventStreams) {
  const open = new Set<number>();
  const leave = [0, 1, 2, 3].map((name) =>
    streams.enter({ open: () => open.add(name), close: () => open.delete(name) }),
  );
  return { open: () => [...open].sort(), leave };
}

test('three streams are open, and the next has the turn of one that leaves', () => {
  const { open, leave } = four(new EventStreams(new FakePage() as unknown as Document));
  expect(open()).toEqual([0, 1, 2]);
  leave[1]?.();
  expect(open()).toEqual([0, 2, 3]);
  leave[1]?.();
  expect(open()).toEqual([0, 2, 3]);
});

test('a hidden page has none, and gets them back when it is seen', () => {
  const page = new FakePage();
  const { open } = four(new EventStreams(page as unknown as Document));
  page.become('hidden');
  expect(open()).toEqual([]);
  page.become('visible');
  expect(open()).toEqual([0, 1, 2]);
});
