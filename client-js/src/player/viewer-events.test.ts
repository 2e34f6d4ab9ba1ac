import { expect, test } from 'vitest';
import { EventStreams } from './event-streams.ts';
import { FakeEventSource } from './fake-event-source.ts';
import { ViewerEvents } from './viewer-events.ts';

const REFUSED = () => new Response(null, { status: 503 });
const MADE = () => new Response(null, { status: 201, headers: { Location: '/s/1/sse/1' } });

async function listen(answer: () => Response) {
  const asked: { url: string; body: string }[] = [];
  const fetch = (async (url: string, init: RequestInit) => {
    asked.push({ url, body: String(init.body) });
    return answer();
  }) as unknown as typeof globalThis.fetch;
  const sources: FakeEventSource[] = [];
  const events = new ViewerEvents((url) => {
    const source = new FakeEventSource(url);
    sources.push(source);
    return source as unknown as EventSource;
  }, new EventStreams(null));
  const told: unknown[] = [];
  for (const name of ['open', 'live', 'layers', 'viewers', 'reconnect'] as const)
    events.on(name, (value) => told.push([name, value]));
  await events.start({ url: 'https://h/whep/a', role: 'whep', fetch }, 'https://h/s/1/sse');
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

test('nonsense is passed over, and no address is led astray', async () => {
  const { source, told } = await listen(MADE);
  source?.say('viewercount', 'three');
  source?.say('viewercount', '{"viewercount":"3"}');
  for (const url of ['"javascript:alert(1)"', '7', '"http://["']) source?.say('reconnect', `{"url":${url}}`);
  source?.say('reconnect', '{}');
  expect(told).toEqual(Array.from({ length: 4 }, () => ['reconnect', null]));
});

test('a refusal leaves it to others to ask; a broken connection is the browser’s to mend', async () => {
  const refused = await listen(REFUSED);
  expect(refused.sources).toEqual([]);
  expect(refused.told).toEqual([]);
  const { events, source, told } = await listen(MADE);
  source?.open();
  source?.fail(0);
  expect(told).toEqual([['open', true]]);
  source?.fail(2);
  expect(told.at(-1)).toEqual(['open', false]);
  events.close();
  expect(source?.closed).toBe(true);
});
