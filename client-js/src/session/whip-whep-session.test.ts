import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { Bearer } from './bearer.ts';
import { SessionFailure } from './failure.ts';
import { created, FakeConnection, FakeServer } from './fake-connection.ts';
import { WhipWhepSession } from './whip-whep-session.ts';

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

async function open(server: FakeServer, connection = new FakeConnection(), role: 'whip' | 'whep' = 'whep') {
  const session = await WhipWhepSession.open(
    {
      endpoint: { url: `https://host/${role}/room`, role, bearer: new Bearer(), fetch: server.fetch },
      transport: 'any',
      iceServers: [],
      createConnection: () => connection as unknown as RTCPeerConnection,
    },
    () => undefined,
    new AbortController().signal,
  );
  const events: string[] = [];
  session.on('connected', () => events.push('connected'));
  session.on('interrupted', () => events.push('interrupted'));
  session.on('restarted', () => events.push('restarted'));
  session.on('lost', () => events.push('lost'));
  return { session, connection, events };
}

const settle = () => vi.advanceTimersByTimeAsync(0);

test('trickles under the entity tag of the session and deletes it when closed', async () => {
  const server = new FakeServer()
    .on('POST', created())
    .on('PATCH', () => new Response(null, { status: 204 }));
  const { session, connection } = await open(server.on('DELETE', () => new Response()));
  connection.gather('candidate:1 1 udp 1 192.0.2.7 5000 typ host');
  connection.gather(null);
  await settle();
  const patches = server.of('PATCH');
  expect(patches.map(({ etag }) => etag)).toEqual(['"e1"', '"e1"']);
  expect(patches[0]?.body).toContain('a=ice-ufrag:u1\r\n');
  expect(patches[0]?.body).toContain('candidate:1');
  expect(patches[1]?.body).toContain('end-of-candidates');
  session.close();
  session.close();
  expect(server.of('DELETE').map(({ url }) => url)).toEqual(['https://host/sessions/1']);
  expect(connection.closed).toBe(false);
  await settle();
  expect(connection.closed).toBe(true);
});

test('a server that does not answer the end holds nothing up', async () => {
  const server = new FakeServer().on('POST', created());
  const { fetch } = server;
  const silent = ((url: string, init: RequestInit) =>
    init.method === 'DELETE' ? new Promise(() => undefined) : fetch(url, init)) as typeof globalThis.fetch;
  const { session, connection } = await open(Object.assign(server, { fetch: silent }));
  session.close();
  await vi.advanceTimersByTimeAsync(499);
  expect(connection.closed).toBe(false);
  await vi.advanceTimersByTimeAsync(1);
  expect(connection.closed).toBe(true);
});

test.each([
  ['whep', 0],
  ['whip', 1],
] as const)('a session that the server has closed is not ended there again, but a publisher asks why: %s', async (role, asked) => {
  const server = new FakeServer().on('POST', created()).on('DELETE', () => new Response('', { status: 404 }));
  const { connection } = await open(server, new FakeConnection(), role);
  connection.become('connected');
  connection.closeByServer();
  await settle();
  expect(server.of('DELETE').length).toBe(asked);
  expect(connection.closed).toBe(true);
});

test.each([
  false,
  true,
])('lost sound is wanted again, unless the browser insists on its offer (%s)', async (strict) => {
  const server = new FakeServer().on('POST', created());
  await open(server, Object.assign(new FakeConnection(), { strict }));
  expect(server.of('POST')[0]?.body.includes('a=rtcp-fb:111 nack')).toBe(!strict);
});

test('candidates found before the answer wait for it', async () => {
  const server = new FakeServer()
    .on('POST', created())
    .on('PATCH', () => new Response(null, { status: 204 }));
  const connection = new FakeConnection();
  const opened = open(server, connection);
  connection.gather('candidate:early');
  expect(server.of('PATCH')).toEqual([]);
  await opened;
  await settle();
  expect(server.of('PATCH')[0]?.body).toContain('candidate:early');
});

test('a failed path is restarted: new credentials out, the server’s in, the new entity tag from then on', async () => {
  const fragment =
    'a=ice-ufrag:s2\r\na=ice-pwd:s2\r\na=mid:0\r\na=candidate:9 1 udp 1 192.0.2.1 2 typ host\r\n';
  const server = new FakeServer().on('POST', created()).on(
    'PATCH',
    () => new Response(fragment, { status: 200, headers: { ETag: '"e2"' } }),
    () => new Response(null, { status: 204 }),
  );
  const { connection, events } = await open(server);
  connection.become('connected');
  connection.become('failed');
  connection.gather('candidate:after-restart');
  await settle();
  const [restart, trickle] = server.of('PATCH');
  expect(restart?.etag).toBe('*');
  expect(restart?.body).toContain('a=ice-ufrag:u2');
  expect(trickle?.etag).toBe('"e2"');
  expect(connection.currentRemoteDescription?.sdp).toContain('a=ice-ufrag:s2');
  expect(connection.currentRemoteDescription?.sdp).toContain('candidate:9');
  connection.become('connected');
  expect(events).toEqual(['connected', 'interrupted', 'restarted', 'connected']);
});

test('a server that forgot the session ends it', async () => {
  const server = new FakeServer().on('POST', created()).on('PATCH', () => new Response('', { status: 404 }));
  const { connection, events } = await open(server);
  connection.become('connected');
  connection.become('failed');
  await settle();
  expect(events).toEqual(['connected', 'interrupted', 'lost']);
  expect(connection.closed).toBe(true);
});

test('no network during a restart is tried again, then given up', async () => {
  const server = new FakeServer().on('POST', created());
  const { connection, events } = await open(server);
  connection.become('connected');
  connection.become('failed');
  await vi.advanceTimersByTimeAsync(20_000);
  expect(server.of('PATCH').length).toBe(2);
  expect(connection.signalingState).toBe('have-local-offer');
  expect(events).toEqual(['connected', 'interrupted', 'lost']);
});

test('a server that closes the session ends it at once', async () => {
  const { connection, events } = await open(new FakeServer().on('POST', created()));
  connection.become('connected');
  connection.closeByServer();
  expect(events).toEqual(['connected', 'lost']);
});

test.each([
  [410, 'refused', 'another publisher has taken the stream over'],
  [404, 'lost', 'the media connection broke'],
] as const)('a publisher whose session the server closed asks why: %i', async (status, kind, message) => {
  const body = JSON.stringify({ detail: message });
  const server = new FakeServer().on('POST', created()).on('DELETE', () => new Response(body, { status }));
  const { session, connection } = await open(server, new FakeConnection(), 'whip');
  const failures: SessionFailure[] = [];
  session.on('lost', (failure) => failures.push(failure));
  connection.become('connected');
  connection.closeByServer();
  await settle();
  expect(failures).toMatchObject([{ kind, message }]);
});

test('a session that never connects is lost', async () => {
  const { events } = await open(new FakeServer().on('POST', created()));
  await vi.advanceTimersByTimeAsync(12_000);
  expect(events).toEqual(['lost']);
});

test('a refusal closes the connection and leaves nothing on the server', async () => {
  const connection = new FakeConnection();
  const server = new FakeServer().on('POST', () => new Response('no', { status: 406 }));
  await expect(open(server, connection)).rejects.toBeInstanceOf(SessionFailure);
  expect(connection.closed).toBe(true);
  expect(server.of('DELETE')).toEqual([]);
});
