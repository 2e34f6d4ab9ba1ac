import { expect, test, vi } from 'vitest';
import { Bearer } from './bearer.ts';
import { deleteSession, type Endpoint, patchSession, postOffer } from './endpoint.ts';
import { SessionFailure } from './failure.ts';

function endpoint(answer: Response | Error): { endpoint: Endpoint; asked: ReturnType<typeof vi.fn> } {
  const asked = vi.fn(async () => {
    if (answer instanceof Error) throw answer;
    return answer;
  });
  const made: Endpoint = {
    url: 'https://host/whep/room',
    role: 'whep',
    bearer: new Bearer('secret'),
    fetch: asked as unknown as typeof fetch,
  };
  return { endpoint: made, asked };
}

const signal = new AbortController().signal;

test('an offer goes out as SDP with the token; the session comes back absolute', async () => {
  const headers = {
    Location: '/sessions/1',
    ETag: '"tag"',
    Link: '<stun:s>; rel="ice-server", </sessions/1/layer>; rel="urn:ietf:params:whep:ext:core:layer"',
  };
  const { endpoint: whep, asked } = endpoint(new Response('answer', { status: 201, headers }));
  expect(await postOffer(whep, 'offer', signal)).toEqual({
    sessionUrl: 'https://host/sessions/1',
    etag: '"tag"',
    answer: 'answer',
    iceServers: [{ urls: 'stun:s' }],
    extensions: { events: null, layer: 'https://host/sessions/1/layer' },
  });
  const [url, init] = asked.mock.calls[0] as unknown as [string, RequestInit & { headers: Headers }];
  expect(url).toBe('https://host/whep/room');
  expect(init.body).toBe('offer');
  expect(init.headers.get('Content-Type')).toBe('application/sdp');
  expect(init.headers.get('Authorization')).toBe('Bearer secret');
});

test('a refusal carries its kind, its reason and when to come back', async () => {
  const body = JSON.stringify({ detail: 'the stream is not live' });
  const { endpoint: whep } = endpoint(new Response(body, { status: 409, headers: { 'Retry-After': '3' } }));
  const failure = await postOffer(whep, 'offer', signal).catch((error: unknown) => error);
  expect(failure).toBeInstanceOf(SessionFailure);
  expect(failure).toMatchObject({
    kind: 'not-live',
    message: 'the stream is not live',
    status: 409,
    retryAfterMs: 3_000,
  });
});

test.each([
  ['plain words', 'plain words'],
  ['<html>proxy page</html>', 'the server answered 502'],
  ['{broken', 'the server answered 502'],
  ['', 'the server answered 502'],
])('a body of %j is explained as %j', async (body, message) => {
  const { endpoint: whep } = endpoint(new Response(body, { status: 502 }));
  await expect(postOffer(whep, 'offer', signal)).rejects.toMatchObject({ kind: 'unreachable', message });
});

test('no answer at all is unreachable', async () => {
  const { endpoint: whep } = endpoint(new TypeError('network'));
  await expect(postOffer(whep, 'offer', signal)).rejects.toMatchObject({ kind: 'unreachable', status: null });
});

test('a patch names the entity tag and hands out the new one', async () => {
  const { endpoint: whep, asked } = endpoint(
    new Response('frag', { status: 200, headers: { ETag: '"new"' } }),
  );
  const result = await patchSession(whep, 'https://host/sessions/1', 'body', '*');
  expect(result).toEqual({ status: 200, fragment: 'frag', etag: '"new"' });
  const init = (asked.mock.calls[0] as unknown as [string, RequestInit & { headers: Headers }])[1];
  expect(init.method).toBe('PATCH');
  expect(init.headers.get('If-Match')).toBe('*');
  expect(init.headers.get('Content-Type')).toBe('application/trickle-ice-sdpfrag');
});

test('a delete outlives the page and never throws', async () => {
  const { endpoint: whep, asked } = endpoint(new TypeError('network'));
  await deleteSession(whep, 'https://host/sessions/1');
  expect((asked.mock.calls[0] as unknown as [string, RequestInit])[1]).toMatchObject({
    method: 'DELETE',
    keepalive: true,
  });
});
