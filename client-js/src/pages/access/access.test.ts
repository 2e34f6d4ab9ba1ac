import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { fetchRooms, pollRooms, RoomsRefused } from '../rooms.ts';
import { OnAirMark } from '../studio/on-air-mark.ts';
import { type TokenStorage, TokenStore, type TokenUse } from './token-store.ts';
import { TOKEN_WORDS, tokenProblem } from './token-words.ts';

/** What `sessionStorage` would be. */
class Drawer implements TokenStorage {
  readonly kept = new Map<string, string>();

  getItem(key: string): string | null {
    return this.kept.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    this.kept.set(key, value);
  }
}

test('tokens are kept apart by use and room, and that of the list is tried for watching', () => {
  const drawer = new Drawer();
  const store = (use: TokenUse, room: string) => new TokenStore(use, room, drawer);
  expect(store('play', 'a').token).toBeNull();
  store('publish', 'a').keep('north');
  expect([store('publish', 'a').token, store('publish', 'b').token]).toEqual(['north', null]);
  expect(store('play', 'a').token).toBeNull();
  store('list', '').keep('all');
  expect([store('play', 'a').token, store('publish', 'b').token]).toEqual(['all', null]);
  store('play', 'a').keep('south');
  expect([store('play', 'a').token, store('play', 'b').token]).toEqual(['south', 'all']);
});

test('where nothing can be stored, a token is good until the page is left', () => {
  const full: TokenStorage = {
    getItem: () => null,
    setItem: () => {
      throw new Error('quota');
    },
  };
  for (const storage of [full, null]) {
    const store = new TokenStore('play', 'a', storage);
    store.keep('south');
    expect(store.token).toBe('south');
  }
});

test('where pages may store nothing, a tab goes on air all the same', () => {
  vi.stubGlobal('sessionStorage', undefined);
  Object.defineProperty(globalThis, 'sessionStorage', {
    configurable: true,
    get: () => {
      throw new Error('SecurityError');
    },
  });
  const mark = new OnAirMark();
  expect(mark.read()).toBeNull();
  mark.set('https://a.example/whip/a/main');
  mark.clear();
  expect(new TokenStore('publish', 'a').token).toBeNull();
});

test('nobody is scolded before a token was sent, and then told which one it was', () => {
  for (const use of Object.keys(TOKEN_WORDS) as TokenUse[]) {
    expect(tokenProblem(use, 401, false)).toBe('');
    expect(tokenProblem(use, 401, true)).toContain('does not know');
  }
  expect(tokenProblem('publish', 403, true)).toContain('for watching');
  expect(tokenProblem('play', 403, true)).toContain('for going live');
});

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('document', Object.assign(new EventTarget(), { hidden: false }));
});
afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

/** A server that knows one token; what it was asked with. */
function guardedServer(known: string): Array<string | null> {
  const asked: Array<string | null> = [];
  vi.stubGlobal('fetch', async (_path: string, { headers }: { headers: Record<string, string> }) => {
    asked.push(headers.Authorization ?? null);
    const good = headers.Authorization === `Bearer ${known}`;
    return new Response(good ? '{"rooms":[]}' : '', { status: good ? 200 : 401 });
  });
  return asked;
}

test('after a refusal the server is asked no more until there is another token', async () => {
  const asked = guardedServer('south');
  let token: string | null = null;
  const answers: unknown[] = [];
  const refusals: number[] = [];
  const askAgain = pollRooms(
    () => fetchRooms(token),
    (answer) => answers.push(answer),
    ({ status }) => refusals.push(status),
  );
  await vi.advanceTimersByTimeAsync(10_000);
  expect([asked, refusals, answers]).toEqual([[null], [401], [null]]);
  token = 'south';
  askAgain();
  await vi.advanceTimersByTimeAsync(2_000);
  expect(asked).toEqual([null, 'Bearer south', 'Bearer south']);
  expect([refusals, answers]).toEqual([[401], [null, [], []]]);
});

test('an answer to the old token does not undo the new one', async () => {
  const pending: Array<(error: Error | null) => void> = [];
  const refused = vi.fn();
  const ask = () =>
    new Promise<number>((resolve, reject) => {
      pending.push((error) => (error === null ? resolve(1) : reject(error)));
    });
  const tell = vi.fn();
  const askAgain = pollRooms(ask, tell, refused);
  askAgain();
  pending[0]?.(new RoomsRefused(401));
  await vi.advanceTimersByTimeAsync(0);
  expect(refused).not.toHaveBeenCalled();
  pending[1]?.(null);
  await vi.advanceTimersByTimeAsync(0);
  expect(tell).toHaveBeenLastCalledWith(1);
});
