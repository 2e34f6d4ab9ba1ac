import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Bearer } from '../session/bearer.ts';
import { LayerChoice, type LayeredSession } from './layer-choice.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

/** What one request came to. */
type Answer = Response | 'none' | 'no network';

/** A session at `host` whose server answers in turn, then always with 200, and what it is asked. */
function sessionAt(host: string, ...answers: Answer[]) {
  const wishes: string[] = [];
  const signals: AbortSignal[] = [];
  const fetch = async (_url: string, { body, signal }: RequestInit) => {
    wishes.push(String(body));
    if (signal) signals.push(signal);
    const answer = answers.shift() ?? new Response();
    if (answer === 'no network') throw new TypeError(answer);
    if (answer !== 'none') return answer;
    return new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
  };
  const session = {
    endpoint: { url: `https://${host}/whep/room`, role: 'whep', bearer: new Bearer(), fetch },
    extensions: { events: null, layer: `https://${host}/s/layer` },
  } as unknown as LayeredSession;
  return { session, wishes, signals };
}

function made() {
  const refused = vi.fn();
  return { refused, choice: new LayerChoice(refused) };
}

const layer = (rid: string) => ({ id: rid, wish: { rid } });

test('a server that does not answer is asked again, and later choices come through', async () => {
  const { choice } = made();
  const { session, wishes } = sessionAt('a', 'none', 'none');
  choice.adopt(session);
  void choice.choose(layer('q'));
  await vi.advanceTimersByTimeAsync(7_000);
  expect(wishes).toEqual(['{"rid":"q"}', '{"rid":"q"}']);
  const told = choice.choose(layer('f'));
  await vi.advanceTimersByTimeAsync(5_000);
  await told;
  expect(wishes.at(-1)).toBe('{"rid":"f"}');
  expect(vi.getTimerCount()).toBe(0);
});

test('a session that follows is told at once, and nothing more is asked of the one before', async () => {
  const { choice } = made();
  const [dead, next] = [sessionAt('a', 'none'), sessionAt('b')];
  choice.adopt(dead.session);
  void choice.choose(layer('q'));
  await vi.advanceTimersByTimeAsync(0);
  choice.adopt(next.session);
  await vi.advanceTimersByTimeAsync(0);
  expect(dead.signals[0]?.aborted).toBe(true);
  expect(next.wishes).toEqual(['{"rid":"q"}']);
  choice.adopt(null);
  await vi.advanceTimersByTimeAsync(60_000);
  expect([dead.wishes.length, next.wishes.length]).toEqual([1, 1]);
});

test('while the network is away one retry waits, whatever is chosen, and the last choice is told once', async () => {
  const { choice } = made();
  const { session, wishes } = sessionAt('a', ...Array<Answer>(4).fill('no network'));
  choice.adopt(session);
  for (const rid of ['q', 'h', 'f']) {
    await choice.choose(layer(rid));
    await vi.advanceTimersByTimeAsync(100);
  }
  expect(vi.getTimerCount()).toBe(1);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(wishes).toEqual(['q', 'h', 'f', 'f', 'f'].map((rid) => JSON.stringify({ rid })));
});

test('quick choices are told in order, what was passed over is not', async () => {
  const { choice } = made();
  const { session, wishes } = sessionAt('a');
  choice.adopt(session);
  await Promise.all(['q', 'h', 'f'].map((rid) => choice.choose(layer(rid))));
  expect(wishes).toEqual(['{"rid":"f"}']);
});

test('a server that says when to ask again is asked then', async () => {
  const { choice } = made();
  const busy = new Response('', { status: 429, headers: { 'Retry-After': '10' } });
  const { session, wishes } = sessionAt('a', busy);
  choice.adopt(session);
  await choice.choose(layer('q'));
  await vi.advanceTimersByTimeAsync(9_900);
  expect(wishes).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(200);
  expect(wishes).toHaveLength(2);
});

test('whose choice is refused leaves it to the server, also one that was granted before', async () => {
  const { choice, refused } = made();
  const wrong = () => new Response('', { status: 400 });
  const { session, wishes } = sessionAt('a', new Response(), wrong(), wrong());
  choice.adopt(session);
  await choice.choose(layer('q'));
  await choice.choose(layer('x'));
  await vi.advanceTimersByTimeAsync(60_000);
  expect([choice.chosen, refused.mock.calls.length]).toEqual([null, 1]);
  expect(wishes).toEqual(['{"rid":"q"}', '{"rid":"x"}', '{}']);
});
