import { expect, test } from 'vitest';
import { Bearer } from '../session/bearer.ts';
import { OnAir } from './on-air.ts';

const never = new AbortController().signal;

/** A server that answers each question so, and what it was asked. */
function server(...answers: Array<() => Response>) {
  const asked: Array<readonly [string, string | null]> = [];
  const fetch = (async (url: string, { headers }: RequestInit) => {
    asked.push([url, (headers as Headers).get('Authorization')]);
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === undefined) throw new TypeError('no network');
    return answer();
  }) as typeof globalThis.fetch;
  return { asked, of: (url: string) => ({ url, role: 'whep' as const, bearer: new Bearer(), fetch }) };
}

const room = (streams: unknown) => () => Response.json({ name: 'room', live: true, streams });

test('a stream is on air when it is live itself, whatever else is in its room', async () => {
  const streams = [
    { name: 'main', live: true },
    { name: 'side', live: false },
  ];
  const { asked, of } = server(room(streams));
  const onAir = new OnAir();
  const ask = (url: string) => onAir.ask({ ...of(url), bearer: new Bearer('key') }, never);
  expect(await ask('https://host/whep/room')).toBe(true);
  expect(await ask('https://host/live/whep/room/side')).toBe(false);
  expect(await ask('https://host/whep/room/other')).toBe(false);
  expect(asked.map(([url]) => url)).toEqual([
    'https://host/v1/rooms/room',
    'https://host/live/v1/rooms/room',
    'https://host/v1/rooms/room',
  ]);
  expect(new Set(asked.map(([, token]) => token))).toEqual(new Set(['Bearer key']));
});

test('where there is no good answer, the offer has to tell', async () => {
  const broken = [() => new Response('', { status: 503 }), () => new Response('text'), room('none')];
  const { asked, of } = server(...broken);
  const onAir = new OnAir();
  for (const _ of broken) expect(await onAir.ask(of('https://host/whep/room'), never)).toBe(null);
  expect(await new OnAir().ask(server().of('https://host/whep/room'), never)).toBe(null);
  expect(asked.length).toBe(3);
});

test('servers of others are asked once, and not at all where their addresses are of another kind', async () => {
  const { asked, of } = server(() => new Response('', { status: 404 }));
  const onAir = new OnAir();
  for (const url of ['https://host/whep/room', 'https://host/whep/room', 'https://host/whep?app=room'])
    expect(await onAir.ask(of(url), never)).toBe(null);
  expect(asked.length).toBe(1);
});
