import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Bearer } from '../session/bearer.ts';
import { EventStreams } from './event-streams.ts';
import { FakeEventSource } from './fake-event-source.ts';
import { ViewerEvents } from './viewer-events.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

const UNKNOWN = () => new Response(null, { status: 404 });
const MADE = () => new Response(null, { status: 201, headers: { Location: '/s/1/sse/1' } });

async function listen(answer: () => Response, streams = new EventStreams(null)) {
  const asked: { url: string; body: string }[] = [];
  const fetch = (async (url: string, init: RequestInit) => {
    asked.push({ url, body: String(init.body) });
    return answer();
  }) as unknown as typeof globalThis.fetch;
  const sources: FakeEventSource[] = [];
  const openSource = (url: string) => {
    const source = new FakeEventSource(url);
    sources.push(source);
    return source as unknown as EventSource;
  };
  const events = new ViewerEvents(true, openSource, streams);
  const told: unknown[] = [];
  for (const name of ['open', 'live', 'soundOnly', 'viewers', 'reconnect'] as const)
    events.on(name, (value) => told.push([name, value]));
  await events.start(
    { url: 'https://h/whep/a', role: 'whep', bearer: new Bearer(), fetch },
    'https://h/s/1/sse',
  );
  return { events, asked, sources, told, source: sources[0] };
}

test('asks for events and tells them as values', async () => {
  const { asked, source, told } = await listen(MADE);
  expect(asked).toEqual([
    { url: 'https://h/s/1/sse', body: '["active","inactive","layers","viewercount","reconnect"]' },
  ]);
  expect(source?.url).toBe('https://h/s/1/sse/1');
  source?.open();
  source?.say('active', '{}');
  source?.say('viewercount', '{"viewercount":3}');
  source?.say('inactive', '{}');
  source?.say('reconnect', '{"url":"/whep/b"}');
  expect(told).toEqual([
    ['open', true],
    ['live', true],
    ['viewers', 3],
    ['live', false],
    ['reconnect', 'https://h/whep/b'],
  ]);
});

test('layers that the network does not carry are told apart from those that nobody sends', async () => {
  const { source, told } = await listen(MADE);
  source?.say('layers', '{"1":[{"bitrate":0,"active":false,"reason":"network"}]}');
  source?.say('layers', '{"1":[{"bitrate":0,"active":false}]}');
  expect(told).toEqual([
    ['soundOnly', true],
    ['soundOnly', false],
  ]);
});

test('nonsense is passed over, and no address is led astray', async () => {
  const { source, told } = await listen(MADE);
  source?.say('viewercount', 'three');
  source?.say('viewercount', '{"viewercount":"3"}');
  for (const url of ['"javascript:alert(1)"', '7', '"http://["']) source?.say('reconnect', `{"url":${url}}`);
  source?.say('reconnect', '{}');
  expect(told).toEqual(Array.from({ length: 4 }, () => ['reconnect', null]));
});

test('a refusal leaves it to others to ask; a broken connection is the browser’s to mend', async () => {
  const refused = await listen(UNKNOWN);
  await vi.advanceTimersByTimeAsync(600_000);
  expect([refused.asked.length, refused.sources, refused.told]).toEqual([1, [], []]);
  const { events, source, told } = await listen(MADE);
  source?.open();
  source?.fail(0);
  expect(told).toEqual([['open', true]]);
  source?.fail(2);
  expect(told.at(-1)).toEqual(['open', false]);
  events.close();
  expect(source?.closed).toBe(true);
});

test('a stream that is refused gives its turn to another, and is asked for again, less and less often', async () => {
  const streams = new EventStreams(null);
  const players = await Promise.all([1, 2, 3, 4].map(() => listen(MADE, streams)));
  const [first, , , fourth] = players;
  expect(players.map(({ sources }) => sources.length)).toEqual([1, 1, 1, 0]);
  first?.source?.fail(2);
  expect([first?.source?.closed, fourth?.sources.length]).toEqual([true, 1]);
  for (const { events } of players.slice(1)) events.close();
  await vi.advanceTimersByTimeAsync(4_000);
  expect(first?.sources.length).toBe(2);
  first?.sources[1]?.fail(2);
  await vi.advanceTimersByTimeAsync(7_000);
  expect(first?.sources.length).toBe(2);
  await vi.advanceTimersByTimeAsync(1_000);
  first?.sources[2]?.open();
  expect(first?.told).toEqual([['open', true]]);
  first?.sources[2]?.fail(2);
  first?.events.close();
  await vi.advanceTimersByTimeAsync(600_000);
  expect(first?.sources.length).toBe(3);
});

test('a server that is asked too often is asked for a stream when it says', async () => {
  const busy = new Response(null, { status: 429, headers: { 'Retry-After': '30' } });
  const answers = [busy, MADE()];
  const { asked, sources } = await listen(() => answers.shift() ?? MADE());
  await vi.advanceTimersByTimeAsync(29_000);
  expect(asked.length).toBe(1);
  await vi.advanceTimersByTimeAsync(2_000);
  expect([asked.length, sources.length]).toEqual([2, 1]);
});
