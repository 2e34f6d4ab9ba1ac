import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { judgePlayer } from '../player/judge.ts';
import { judgePublisher } from '../publisher/publisher.ts';
import { Bearer } from './bearer.ts';
import { created, FakeConnection, FakeServer } from './fake-connection.ts';
import { type Judge, SessionKeeper } from './session-keeper.ts';
import { WhipWhepSession } from './whip-whep-session.ts';

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
});

function keep(server: FakeServer, judge: Judge, role: 'whip' | 'whep') {
  const connections: FakeConnection[] = [];
  const open = (signal: AbortSignal) =>
    WhipWhepSession.open(
      {
        endpoint: { url: `https://host/${role}/room`, role, bearer: new Bearer(), fetch: server.fetch },
        transport: 'any',
        iceServers: [],
        createConnection: () => {
          const connection = new FakeConnection();
          connections.push(connection);
          return connection as unknown as RTCPeerConnection;
        },
      },
      () => undefined,
      signal,
    );
  const keeper = new SessionKeeper({ judge, open });
  const states: string[] = [];
  keeper.on('state', (state) => states.push(state));
  return { keeper, connections, states, open };
}

const notLive = () => new Response('', { status: 409, headers: { 'Retry-After': '3' } });
const settle = () => vi.advanceTimersByTimeAsync(0);

test('a viewer waits for a stream as long as the server asks, and plays when it comes', async () => {
  const server = new FakeServer().on('POST', notLive, notLive, created());
  const { keeper, connections, states } = keep(server, judgePlayer, 'whep');
  keeper.start();
  await vi.advanceTimersByTimeAsync(2_999);
  expect(server.of('POST')).toHaveLength(1);
  await vi.advanceTimersByTimeAsync(1);
  expect(server.of('POST')).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(3_000);
  connections.at(-1)?.become('connected');
  expect(states).toEqual(['connecting', 'waiting', 'connected']);
  expect(connections.slice(0, -1).every(({ closed }) => closed)).toBe(true);
});

test('a viewer backs off from a server that is away and starts anew once it played', async () => {
  const down = () => new Response('', { status: 502 });
  const server = new FakeServer().on('POST', down, down, down, created());
  const { keeper, connections, states } = keep(server, judgePlayer, 'whep');
  const delays: Array<number | null> = [];
  keeper.on('failure', ({ retryMs }) => delays.push(retryMs));
  keeper.start();
  await vi.advanceTimersByTimeAsync(300 + 600 + 1_200);
  connections.at(-1)?.become('connected');
  server.on('POST', down);
  connections.at(-1)?.become('closed');
  await settle();
  expect(delays).toEqual([300, 600, 1_200, 300]);
  expect(states).toEqual(['connecting', 'reconnecting', 'connected', 'reconnecting']);
});

test('a network that comes back ends the wait', async () => {
  const server = new FakeServer().on('POST', notLive);
  const { keeper } = keep(server, judgePlayer, 'whep');
  keeper.start();
  await settle();
  keeper.networkChanged();
  keeper.networkChanged();
  await settle();
  expect(server.of('POST')).toHaveLength(2);
});

test('stopping ends the session, the waiting and an attempt under way', async () => {
  const server = new FakeServer().on('POST', notLive, created()).on('DELETE', () => new Response());
  const { keeper, connections, states } = keep(server, judgePlayer, 'whep');
  keeper.start();
  await settle();
  keeper.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(server.of('POST')).toHaveLength(1);
  keeper.start();
  keeper.stop();
  await settle();
  expect(server.of('DELETE')).toHaveLength(1);
  expect(connections.every(({ closed }) => closed)).toBe(true);
  expect(states).toEqual(['connecting', 'waiting', 'closed', 'connecting', 'closed']);
});

test('a publisher is told at once that it may not begin', async () => {
  const server = new FakeServer().on('POST', () => new Response('', { status: 409 }));
  const { keeper, states } = keep(server, judgePublisher(), 'whip');
  keeper.start();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(states).toEqual(['connecting', 'failed']);
  expect(server.of('POST')).toHaveLength(1);
});

test('a publisher that was on air outlasts its own old session on the server', async () => {
  const taken = () => new Response('', { status: 409 });
  const server = new FakeServer().on('POST', created(), taken, taken, created());
  const { keeper, connections, states } = keep(server, judgePublisher(), 'whip');
  keeper.start();
  await settle();
  connections[0]?.become('connected');
  connections[0]?.become('closed');
  await vi.advanceTimersByTimeAsync(300 + 600 + 1_200);
  connections.at(-1)?.become('connected');
  expect(states).toEqual(['connecting', 'connected', 'reconnecting', 'connected']);
});

test('a name that stays taken is somebody else’s: the publisher says so in the end', async () => {
  const taken = () => new Response('', { status: 409, headers: { 'Retry-After': '2' } });
  const server = new FakeServer().on('POST', created(), taken);
  const { keeper, connections, states } = keep(server, judgePublisher(), 'whip');
  const failures: Array<[string, number | null]> = [];
  keeper.on('failure', ({ failure, retryMs }) => failures.push([failure.kind, retryMs]));
  keeper.start();
  await settle();
  connections[0]?.become('connected');
  connections[0]?.become('closed');
  await vi.advanceTimersByTimeAsync(34_000);
  expect(states.at(-1)).toBe('reconnecting');
  await vi.advanceTimersByTimeAsync(6_000);
  expect(states).toEqual(['connecting', 'connected', 'reconnecting', 'failed']);
  expect(failures.slice(0, 4)).toEqual([
    ['lost', 300],
    ['taken', 2_000],
    ['taken', 2_000],
    ['taken', 2_400],
  ]);
  expect(failures.at(-1)).toEqual(['taken', null]);
});

test('a publisher that resumes after a crash waits for its ghost from the first attempt', async () => {
  const taken = () => new Response('', { status: 409, headers: { 'Retry-After': '2' } });
  const server = new FakeServer().on('POST', taken, taken, created());
  const { keeper, connections, states } = keep(server, judgePublisher(true), 'whip');
  keeper.start();
  await vi.advanceTimersByTimeAsync(4_000);
  connections.at(-1)?.become('connected');
  expect(states).toEqual(['connecting', 'reconnecting', 'connected']);
});

test('a clear no ends a publisher even on air', async () => {
  const server = new FakeServer().on('POST', created(), () => new Response('', { status: 403 }));
  const { keeper, connections, states } = keep(server, judgePublisher(), 'whip');
  keeper.start();
  await settle();
  connections[0]?.become('connected');
  connections[0]?.become('closed');
  await vi.advanceTimersByTimeAsync(300);
  expect(states).toEqual(['connecting', 'connected', 'reconnecting', 'failed']);
});

/** Connects, and begins a hand-over whose session has media when `ready` is called. */
async function connectAndMove({ keeper, connections, open }: ReturnType<typeof keep>) {
  keeper.start();
  await settle();
  connections[0]?.become('connected');
  let ready: () => void = () => undefined;
  const moved = keeper.handOver(open, () => new Promise<void>((resolve) => (ready = resolve)));
  await settle();
  return { moved, ready: () => ready() };
}

test('a hand-over ends the present session only when the next one is ready', async () => {
  const server = new FakeServer().on('POST', created('1'), created('2')).on('DELETE', () => new Response());
  const kept = keep(server, judgePlayer, 'whep');
  const { keeper, connections, states } = kept;
  const { moved, ready } = await connectAndMove(kept);
  connections[1]?.become('connected');
  expect([connections[0]?.closed, server.of('DELETE').length]).toEqual([false, 0]);
  ready();
  expect(await moved).toBe(true);
  // A connection closes when the server has heard of it.
  await settle();
  expect([connections[0]?.closed, connections[1]?.closed]).toEqual([true, false]);
  expect(server.of('DELETE').map(({ url }) => url)).toEqual(['https://host/sessions/1']);
  expect(keeper.session?.url).toBe('https://host/sessions/2');
  expect(states).toEqual(['connecting', 'connected']);
});

test('a hand-over that is refused, or never ready, changes nothing', async () => {
  const full = () => new Response('', { status: 503 });
  const server = new FakeServer().on('POST', created('1'), full, created('3'));
  const { keeper, connections, states, open } = keep(
    server.on('DELETE', () => new Response()),
    judgePlayer,
    'whep',
  );
  keeper.start();
  await settle();
  connections[0]?.become('connected');
  expect(await keeper.handOver(open, async () => undefined)).toBe(false);
  expect(await keeper.handOver(open, () => Promise.reject(new Error('no media')))).toBe(false);
  await settle();
  expect([connections[0]?.closed, connections[2]?.closed]).toEqual([false, true]);
  expect([keeper.session?.url, states]).toEqual(['https://host/sessions/1', ['connecting', 'connected']]);
});

test('a session that is lost during a hand-over is followed by one session, not by two', async () => {
  const down = () => new Response('', { status: 502 });
  const server = new FakeServer()
    .on('POST', created('1'), created('2'), down)
    .on('DELETE', () => new Response());
  const kept = keep(server, judgePlayer, 'whep');
  const { keeper, connections } = kept;
  const { moved, ready } = await connectAndMove(kept);
  connections[0]?.become('closed');
  await settle();
  expect(keeper.state).toBe('reconnecting');
  connections[1]?.become('connected');
  ready();
  expect(await moved).toBe(true);
  await vi.advanceTimersByTimeAsync(60_000);
  expect([keeper.state, server.of('POST').length]).toEqual(['connected', 2]);
});

test('stopping ends a hand-over', async () => {
  const server = new FakeServer().on('POST', created('1'), created('2')).on('DELETE', () => new Response());
  const kept = keep(server, judgePlayer, 'whep');
  const { keeper, connections } = kept;
  const { moved, ready } = await connectAndMove(kept);
  keeper.stop();
  ready();
  expect(await moved).toBe(false);
  await settle();
  expect(connections.every(({ closed }) => closed)).toBe(true);
});
