import { expect, test, vi } from 'vitest';
import { Bearer, type TokenSource } from './bearer.ts';
import { SessionFailure } from './failure.ts';

/** A server that takes `good` tokens, and what it was shown. */
function server(...good: string[]): { fetch: typeof fetch; shown: (string | null)[] } {
  const shown: (string | null)[] = [];
  const answer = async (_: unknown, init?: RequestInit) => {
    const value = new Headers(init?.headers).get('Authorization');
    shown.push(value);
    return new Response('', { status: good.some((token) => value === `Bearer ${token}`) ? 200 : 401 });
  };
  return { fetch: answer as typeof fetch, shown };
}

const status = async (source: TokenSource | undefined, fetch: typeof globalThis.fetch) =>
  (await new Bearer(source).fetch(fetch, '/', {})).status;

test('a text is shown as it is, and a 401 for it is final', async () => {
  const { fetch, shown } = server('one');
  expect(await status('one', fetch)).toBe(200);
  expect(await status('two', fetch)).toBe(401);
  expect(await status(undefined, fetch)).toBe(401);
  expect(shown).toEqual(['Bearer one', 'Bearer two', null]);
});

test('a function is asked for the first token, and again once for each 401', async () => {
  const { fetch, shown } = server('two', 'three');
  const source = vi.fn().mockReturnValueOnce('one').mockResolvedValueOnce('two');
  const bearer = new Bearer(source);
  expect((await bearer.fetch(fetch, '/', {})).status).toBe(200);
  expect((await bearer.fetch(fetch, '/', {})).status).toBe(200);
  expect(shown).toEqual(['Bearer one', 'Bearer two', 'Bearer two']);
  expect(source).toHaveBeenCalledTimes(2);
});

test('a function without a better token leaves the refusal as it is', async () => {
  const { fetch, shown } = server('good');
  expect(await status(() => 'old', fetch)).toBe(401);
  expect(shown).toEqual(['Bearer old']);
  let number = 0;
  expect(await status(() => `bad-${number++}`, fetch)).toBe(401);
  expect(shown.slice(1)).toEqual(['Bearer bad-0', 'Bearer bad-1']);
});

test('requests that are refused together ask for one token', async () => {
  const { fetch } = server('two');
  const source = vi.fn().mockResolvedValueOnce('one').mockResolvedValue('two');
  const bearer = new Bearer(source);
  const answers = await Promise.all([1, 2, 3].map(() => bearer.fetch(fetch, '/', {})));
  expect(answers.map((answer) => answer.status)).toEqual([200, 200, 200]);
  expect(source).toHaveBeenCalledTimes(2);
});

test('a token that cannot be had is tried for again', async () => {
  const { fetch } = server('one');
  const source = vi.fn().mockRejectedValueOnce(new Error('offline')).mockResolvedValue('one');
  const bearer = new Bearer(source);
  const failure = await bearer.fetch(fetch, '/', {}).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SessionFailure);
  expect(failure).toMatchObject({ kind: 'unreachable', message: 'no token can be had: Error: offline' });
  expect((await bearer.fetch(fetch, '/', {})).status).toBe(200);
});

test('a function that never answers holds up no request for longer than that waits', async () => {
  const { fetch } = server('one');
  const source = vi
    .fn()
    .mockReturnValueOnce(new Promise<string>(() => {}))
    .mockResolvedValue('one');
  const bearer = new Bearer(source);
  const attempt = new AbortController();
  const first = bearer.fetch(fetch, '/', { signal: attempt.signal }).catch((error: unknown) => error);
  attempt.abort(new Error('too long'));
  expect(await first).toMatchObject({ message: 'too long' });
  expect((await bearer.fetch(fetch, '/', {})).status).toBe(200);
});

test('a known token leaves with the page', () => {
  const { fetch, shown } = server('one');
  void new Bearer('one').fetch(fetch, '/', { method: 'DELETE', keepalive: true });
  expect(shown).toEqual(['Bearer one']);
});
