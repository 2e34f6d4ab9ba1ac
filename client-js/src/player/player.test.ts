import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { created, FakeConnection, FakeServer } from '../session/fake-connection.ts';
import type { StatsEntry } from '../stats/report.ts';
import { FakeEventSource } from './fake-event-source.ts';
import { Player } from './player.ts';

/** A connection whose server sends as many packets a second as it is told. */
class FlowingConnection extends FakeConnection {
  packetsPerSecond = 50;
  #packets = 0;

  async getStats(): Promise<Map<string, StatsEntry>> {
    this.#packets += this.packetsPerSecond;
    const audio = { id: 'in', type: 'inbound-rtp', kind: 'audio', packetsReceived: this.#packets };
    return new Map([[audio.id, audio]]);
  }

  addTransceiver(): object {
    return {};
  }
}

/** Media without a picture: its sound alone tells whether it flows. */
class SoundOnly {
  addTrack(): void {}

  getVideoTracks(): never[] {
    return [];
  }
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(Math, 'random').mockReturnValue(0);
  vi.stubGlobal('window', new EventTarget());
  vi.stubGlobal('navigator', {});
  vi.stubGlobal('MediaStream', SoundOnly);
});
afterEach(() => {
  vi.useRealTimers();
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

const notLive = () => new Response('', { status: 409, headers: { 'Retry-After': '2' } });

/** A player whose sound flows for two seconds and then stops, and what it is connected to. */
async function silenced() {
  const server = new FakeServer().on('POST', created('1'), notLive).on('DELETE', () => new Response());
  const connections: FlowingConnection[] = [];
  const player = new Player({
    url: 'https://host/whep/room',
    fetch: server.fetch,
    createConnection: () => {
      const connection = new FlowingConnection();
      connections.push(connection);
      return connection as unknown as RTCPeerConnection;
    },
  });
  const states: string[] = [];
  player.on('state', (state) => states.push(state));
  player.start();
  await vi.advanceTimersByTimeAsync(0);
  const [connection] = connections;
  if (connection === undefined) throw new Error('the player did not connect');
  connection.become('connected');
  await vi.advanceTimersByTimeAsync(2_000);
  connection.packetsPerSecond = 0;
  return { player, server, connection, states };
}

test('silence is waited out for as long as the session stands', async () => {
  const { player, server, connection, states } = await silenced();
  await vi.advanceTimersByTimeAsync(3_600_000);
  expect(player.state).toBe('stalled');
  expect([server.of('POST').length, server.of('DELETE').length]).toEqual([1, 0]);
  connection.packetsPerSecond = 50;
  await vi.advanceTimersByTimeAsync(2_000);
  expect(states).toEqual(['connecting', 'playing', 'stalled', 'playing']);
  player.stop();
});

test('the server ends a silence: the player asks again until the stream is live', async () => {
  const { player, server, connection, states } = await silenced();
  await vi.advanceTimersByTimeAsync(60_000);
  connection.closeByServer();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(server.of('POST').length).toBeGreaterThan(2);
  expect(states).toEqual(['connecting', 'playing', 'stalled', 'reconnecting', 'waiting']);
  player.stop();
});

test('the wait for a broadcast is no part of the time to the first picture', async () => {
  const { player, server, connection } = await silenced();
  const times: number[] = [];
  player.on('firstframe', ({ elapsedMs }) => times.push(elapsedMs));
  await vi.advanceTimersByTimeAsync(60_000);
  player.frameShown();
  connection.closeByServer();
  await vi.advanceTimersByTimeAsync(10_000);
  expect(server.of('POST').length).toBeGreaterThan(2);
  player.frameShown();
  expect(times.map((elapsedMs) => elapsedMs >= 60_000)).toEqual([true]);
  player.stop();
});

test('who waits for a stream offers nothing until it is live, and then at once', async () => {
  const room = (live: boolean) => () => Response.json({ streams: [{ name: 'main', live }] });
  const server = new FakeServer()
    .on('GET', room(false), room(false), room(false), room(true))
    .on('POST', created('1'))
    .on('DELETE', () => new Response());
  const player = new Player({
    url: 'https://host/whep/room',
    fetch: server.fetch,
    createConnection: () => new FlowingConnection() as unknown as RTCPeerConnection,
  });
  player.start();
  await vi.advanceTimersByTimeAsync(5_900);
  expect(player.state).toBe('waiting');
  expect([server.of('GET').length, server.of('POST').length]).toEqual([3, 0]);
  await vi.advanceTimersByTimeAsync(200);
  expect([server.of('GET').length, server.of('POST').length]).toEqual([4, 1]);
  player.stop();
});

test('an answer that is long on its way does not hold the first offer up', async () => {
  const server = new FakeServer().on('POST', created('1')).on('DELETE', () => new Response());
  const slow = ((url: string, init: RequestInit) =>
    init.method === undefined ? new Promise(() => {}) : server.fetch(url, init)) as typeof fetch;
  const player = new Player({
    url: 'https://host/whep/room',
    fetch: slow,
    createConnection: () => new FlowingConnection() as unknown as RTCPeerConnection,
  });
  player.start();
  await vi.advanceTimersByTimeAsync(100);
  expect(server.of('POST').length).toBe(1);
  player.stop();
});

const EXTENSIONS =
  '</s/sse>; rel="urn:ietf:params:whep:ext:core:server-sent-events", </s/layer>; rel="urn:ietf:params:whep:ext:core:layer"';

/** Answers offers with sessions that have extensions, and what is posted to these with what they answer. */
function extended(layer: () => Response = () => new Response()) {
  let sessions = 0;
  const asked: Array<readonly [string, string]> = [];
  const fetch = (async (url: string, { method, body }: RequestInit) => {
    if (method !== 'POST') return new Response();
    const { pathname } = new URL(url);
    asked.push([pathname, String(body)]);
    if (pathname === '/s/sse') return new Response(null, { status: 201, headers: { Location: '/s/sse/1' } });
    if (pathname === '/s/layer') return layer();
    sessions += 1;
    const response = created(String(sessions))();
    response.headers.set('Link', EXTENSIONS);
    return response;
  }) as unknown as typeof globalThis.fetch;
  return { fetch, asked };
}

/** A player whose media flows and which listens to its server. */
async function listening(layer?: () => Response, Subject = Player) {
  const { fetch, asked } = extended(layer);
  const connections: FlowingConnection[] = [];
  const sources: FakeEventSource[] = [];
  const player = new Subject({
    url: 'https://host/whep/room',
    fetch,
    createConnection: () => {
      const connection = new FlowingConnection();
      if (connections.length > 0) connection.packetsPerSecond = 0;
      connections.push(connection);
      return connection as unknown as RTCPeerConnection;
    },
    createEventSource: (url) => {
      const source = new FakeEventSource(url);
      sources.push(source);
      return source as unknown as EventSource;
    },
  });
  player.start();
  await vi.advanceTimersByTimeAsync(0);
  connections[0]?.become('connected');
  sources[0]?.open();
  await vi.advanceTimersByTimeAsync(2_000);
  return { player, asked, connections, sources };
}

test('what the server tells is passed on: off air, on air, how many watch', async () => {
  const { player, sources } = await listening();
  const viewers: Array<number | null> = [];
  player.on('viewers', (count) => viewers.push(count));
  expect(player.state).toBe('playing');
  sources[0]?.say('inactive', '{}');
  expect(player.state).toBe('stalled');
  sources[0]?.say('active', '{}');
  expect(player.state).toBe('playing');
  sources[0]?.say('viewercount', '{"viewercount":7}');
  sources[0]?.say('inactive', '{}');
  sources[0]?.fail(2);
  expect(viewers).toEqual([7, null]);
  expect(player.state).toBe('playing');
  player.stop();
  expect(sources[0]?.closed).toBe(true);
});

const TWO_LAYERS = JSON.stringify({
  '1': [
    { rid: 'f', width: 1280, height: 720, bitrate: 1_500_000 },
    { rid: 'q', width: 320, height: 180, bitrate: 90_000 },
  ],
});

test('a layer is asked for, also of the session that follows', async () => {
  const { player, asked, connections, sources } = await listening();
  sources[0]?.say('layers', TWO_LAYERS);
  expect(player.layers.map(({ rid }) => rid)).toEqual(['f', 'q']);
  const wishes = () => asked.filter(([path]) => path === '/s/layer').map(([, body]) => body);
  await player.selectLayer('q');
  expect([player.selectedLayer, wishes()]).toEqual(['q', ['{"rid":"q"}']]);
  connections[0]?.become('closed');
  await vi.advanceTimersByTimeAsync(10_000);
  expect(wishes()).toEqual(['{"rid":"q"}', '{"rid":"q"}']);
  await player.selectLayer(null);
  expect(wishes().at(-1)).toBe('{}');
  player.stop();
});

test('a layer that is not there any more is not insisted on', async () => {
  const { player, sources } = await listening(() => new Response('', { status: 400 }));
  sources[0]?.say('layers', TWO_LAYERS);
  await player.selectLayer('q');
  expect(player.selectedLayer).toBeNull();
  sources[0]?.say('layers', '{"1":[{"rid":"f","bitrate":1}]}');
  expect(player.layers).toEqual([]);
  player.stop();
});

test('a choice is told again after the network was away, and the last of two quick ones stays', async () => {
  let answers = 0;
  const { player, asked } = await listening(() => {
    answers += 1;
    if (answers === 1) throw new TypeError('network');
    return new Response('', { status: answers === 2 ? 429 : 200 });
  });
  const wishes = () => asked.filter(([path]) => path === '/s/layer').map(([, body]) => body);
  await player.selectLayer('q');
  expect(player.selectedLayer).toBe('q');
  await vi.advanceTimersByTimeAsync(10_000);
  expect(wishes()).toEqual(['{"rid":"q"}', '{"rid":"q"}', '{"rid":"q"}']);
  await Promise.all([player.selectLayer('h'), player.selectLayer('f')]);
  expect(wishes().at(-1)).toBe('{"rid":"f"}');
  player.stop();
});

test('told to move, it plays from there before it stops playing from here', async () => {
  const { player, asked, connections, sources } = await listening();
  const states: string[] = [];
  player.on('state', (state) => states.push(state));
  let moved = 0;
  player.on('moved', () => (moved += 1));
  sources[0]?.say('reconnect', '{"url":"https://host/whep/elsewhere"}');
  await vi.advanceTimersByTimeAsync(0);
  expect(asked.at(-1)?.[0]).toBe('/whep/elsewhere');
  expect([connections.length, connections[0]?.closed, moved]).toEqual([2, false, 0]);
  connections[1]?.become('connected');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(connections[0]?.closed).toBe(false);
  if (connections[1] !== undefined) connections[1].packetsPerSecond = 50;
  await vi.advanceTimersByTimeAsync(100);
  expect([connections[0]?.closed, connections[1]?.closed, moved]).toEqual([true, false, 1]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(states.filter((state) => state === 'reconnecting')).toEqual([]);
  expect(player.state).toBe('playing');
  player.stop();
});

test('on a hidden page it hears that it is to move while a person notices it', async () => {
  const page = Object.assign(new EventTarget(), { visibilityState: 'hidden' });
  vi.stubGlobal('document', page);
  vi.resetModules();
  const { Player: HiddenPlayer } = await import('./player.ts');
  const { player, asked, sources } = await listening(undefined, HiddenPlayer);
  expect(sources.length).toBe(1);
  player.noticed = false;
  expect(sources[0]?.closed).toBe(true);
  player.noticed = true;
  sources[1]?.say('reconnect', '{"url":"https://host/whep/elsewhere"}');
  await vi.advanceTimersByTimeAsync(0);
  expect(asked.at(-1)?.[0]).toBe('/whep/elsewhere');
  player.stop();
});
