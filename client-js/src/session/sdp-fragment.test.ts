import { expect, test } from 'vitest';
import { buildFragment } from './sdp-fragment.ts';
import { TrickleQueue } from './trickle.ts';

const ice = { ufrag: 'frag', password: 'secret' };
const sections = [
  { line: 'm=audio 9 UDP/TLS/RTP/SAVPF 111', mid: '0' },
  { line: 'm=video 9 UDP/TLS/RTP/SAVPF 102', mid: '1' },
];

test('says credentials, the first section and its candidates', () => {
  const candidates = [{ candidate: 'candidate:1 1 udp 1 192.0.2.7 5000 typ host', mid: '0' }];
  expect(buildFragment({ ice, sections, candidates, complete: true })).toBe(
    [
      'a=group:BUNDLE 0 1',
      'a=ice-ufrag:frag',
      'a=ice-pwd:secret',
      'm=audio 9 UDP/TLS/RTP/SAVPF 111',
      'a=mid:0',
      'a=candidate:1 1 udp 1 192.0.2.7 5000 typ host',
      'a=end-of-candidates',
      '',
    ].join('\r\n'),
  );
});

test('a candidate without a mid belongs to the first section, one of another section brings it in', () => {
  const candidates = [
    { candidate: 'candidate:1', mid: null },
    { candidate: 'candidate:2', mid: '1' },
  ];
  const text = buildFragment({ ice, sections, candidates, complete: false });
  expect(text.indexOf('candidate:1')).toBeLessThan(text.indexOf('m=video'));
  expect(text.indexOf('candidate:2')).toBeGreaterThan(text.indexOf('a=mid:1'));
  expect(text).not.toContain('end-of-candidates');
});

const SDP = 'm=audio 9 X 111\r\na=ice-ufrag:frag\r\na=ice-pwd:secret\r\na=mid:0\r\n';

test('one patch at a time; what gathers meanwhile goes with the next', () => {
  const queue = new TrickleQueue();
  expect(queue.next(SDP)).toBeNull();
  queue.add({ candidate: 'candidate:1', mid: '0' });
  expect(queue.next(SDP)).toContain('candidate:1');
  queue.add({ candidate: 'candidate:2', mid: '0' });
  queue.add(null);
  expect(queue.next(SDP)).toBeNull();
  queue.done();
  const second = queue.next(SDP) ?? '';
  expect(second).toContain('candidate:2');
  expect(second).not.toContain('candidate:1');
  expect(second).toContain('end-of-candidates');
  queue.done();
  expect(queue.next(SDP)).toBeNull();
});

test('after a reset, the end of candidates is said again and old candidates are not', () => {
  const queue = new TrickleQueue();
  queue.add({ candidate: 'candidate:1', mid: '0' });
  queue.add(null);
  queue.next(SDP);
  queue.done();
  queue.add({ candidate: 'candidate:stale', mid: '0' });
  queue.reset();
  expect(queue.next(SDP)).toBeNull();
  queue.add(null);
  const text = queue.next(SDP) ?? '';
  expect(text).toContain('end-of-candidates');
  expect(text).not.toContain('stale');
});
