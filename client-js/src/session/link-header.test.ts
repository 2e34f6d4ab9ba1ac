import { expect, test } from 'vitest';
import { iceServersOf, linkTo } from './link-header.ts';

test('reads servers with and without credentials', () => {
  const header =
    '<stun:stun.example.net>; rel="ice-server", ' +
    '<turn:turn.example.net?transport=udp>; rel="ice-server"; username="user,1"; credential="a\\"b;c"; ' +
    'credential-type="password", <https://example.net/sse>; rel="urn:ietf:params:whep:ext:core:server-sent-events"; events="active,inactive"';
  expect(iceServersOf(header)).toEqual([
    { urls: 'stun:stun.example.net' },
    { urls: 'turn:turn.example.net?transport=udp', username: 'user,1', credential: 'a"b;c' },
  ]);
});

test('no header, no servers; nonsense is passed over', () => {
  expect(iceServersOf(null)).toEqual([]);
  expect(iceServersOf('')).toEqual([]);
  expect(iceServersOf('turn:unbracketed; rel=ice-server')).toEqual([]);
  expect(iceServersOf('<>; rel="ice-server"')).toEqual([]);
});

test('finds an extension by its relation', () => {
  const header =
    '<stun:a>; rel="ice-server", <https://h/s/sse>; rel="urn:x:events"; events="active,layers", </s/l>; rel="urn:x:layer"';
  expect(linkTo(header, 'urn:x:events')).toBe('https://h/s/sse');
  expect(linkTo(header, 'urn:x:layer')).toBe('/s/l');
  expect(linkTo(header, 'urn:x:other')).toBeNull();
  expect(linkTo(null, 'urn:x:layer')).toBeNull();
});
