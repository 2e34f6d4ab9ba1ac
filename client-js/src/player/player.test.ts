import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { created, FakeConnection, FakeServer } from '../session/fake-connection.ts';
import type { StatsEntry } from '../stats/report.ts';
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

  addTransceiver(): void {}
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
