import { expect, test } from 'vitest';
import {
  iceCredentialsOf,
  keepCandidates,
  mediaSectionsOf,
  withAudioNack,
  withRestartedIce,
  withStartBitrate,
} from './sdp.ts';

const ANSWER = [
  'v=0',
  'o=- 1 1 IN IP4 0.0.0.0',
  's=-',
  'a=ice-lite',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111',
  'a=mid:0',
  'a=ice-ufrag:old',
  'a=ice-pwd:oldpassword',
  'a=candidate:1 1 udp 2130706431 192.0.2.1 7800 typ host',
  'a=candidate:2 1 TCP 2105524479 192.0.2.1 7800 typ host tcptype passive',
  'a=end-of-candidates',
  'm=video 9 UDP/TLS/RTP/SAVPF 102 103',
  'a=mid:1',
  'a=ice-ufrag:old',
  'a=ice-pwd:oldpassword',
  'a=rtpmap:102 H264/90000',
  'a=fmtp:102 profile-level-id=42e01f',
  'a=rtpmap:103 rtx/90000',
  '',
].join('\r\n');

test('finds credentials and sections', () => {
  expect(iceCredentialsOf(ANSWER)).toEqual({ ufrag: 'old', password: 'oldpassword' });
  expect(iceCredentialsOf('v=0\r\n')).toBeNull();
  expect(mediaSectionsOf(ANSWER)).toEqual([
    { line: 'm=audio 9 UDP/TLS/RTP/SAVPF 111', mid: '0' },
    { line: 'm=video 9 UDP/TLS/RTP/SAVPF 102 103', mid: '1' },
  ]);
});

test('keeps the candidates of one transport', () => {
  expect(keepCandidates(ANSWER, 'any')).toBe(ANSWER);
  const tcp = keepCandidates(ANSWER, 'tcp');
  expect(tcp).toContain('tcptype passive');
  expect(tcp).not.toContain(' udp ');
  expect(keepCandidates(ANSWER, 'udp')).not.toContain('tcptype');
});

test('a restart replaces credentials everywhere and candidates once', () => {
  const fragment =
    'm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=ice-ufrag:new\r\na=ice-pwd:newpassword\r\na=candidate:3 1 udp 1 192.0.2.1 7801 typ host\r\n';
  const restarted = withRestartedIce(ANSWER, fragment) ?? '';
  expect(restarted.match(/a=ice-ufrag:new/g)).toHaveLength(2);
  expect(restarted).not.toContain('old');
  expect(restarted.match(/a=candidate:/g)).toHaveLength(1);
  expect(restarted.indexOf('a=candidate:3')).toBeLessThan(restarted.indexOf('m=video'));
  expect(withRestartedIce(ANSWER, 'a=mid:0\r\n')).toBeNull();
});

test('the start bitrate joins the parameters of the first video format', () => {
  expect(withStartBitrate(ANSWER, 1200)).toContain(
    'a=fmtp:102 profile-level-id=42e01f;x-google-start-bitrate=1200\r\n',
  );
  const vp8 = ANSWER.replace('a=fmtp:102 profile-level-id=42e01f\r\n', '').replace('H264', 'VP8');
  expect(withStartBitrate(vp8, 900)).toContain(
    'a=rtpmap:102 VP8/90000\r\na=fmtp:102 x-google-start-bitrate=900\r\n',
  );
  expect(withStartBitrate(withStartBitrate(ANSWER, 1200), 900)).toContain('x-google-start-bitrate=1200\r\n');
  expect(withStartBitrate('v=0\r\n', 900)).toBe('v=0\r\n');
});

test('lost Opus is asked for again, once and in audio sections only', () => {
  const offer =
    'm=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=rtpmap:111 opus/48000/2\r\na=rtpmap:0 PCMU/8000\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=rtpmap:96 VP8/90000\r\n';
  const wanted = withAudioNack(offer);
  expect(wanted).toContain('a=rtpmap:111 opus/48000/2\r\na=rtcp-fb:111 nack\r\na=rtpmap:0');
  expect(wanted.match(/nack/g)).toHaveLength(1);
  expect(withAudioNack(wanted)).toBe(wanted);
});
