/** Reads and edits the few lines of a session description that WHIP and WHEP need; the rest passes through. */

/** ICE user fragment and password (RFC 8839 §5.4). */
export interface IceCredentials {
  readonly ufrag: string;
  readonly password: string;
}

/** What a trickle fragment repeats of one m-section: `m=` line and `a=mid`. */
export interface MediaSection {
  /** The whole `m=` line without its line break. */
  readonly line: string;
  readonly mid: string;
}

/** Lines of an SDP text, tolerant of bare line feeds. */
export function sdpLines(sdp: string): string[] {
  return sdp.split(/\r?\n/).filter((line) => line !== '');
}

/** SDP text of `lines`. */
export function joinSdp(lines: readonly string[]): string {
  return `${lines.join('\r\n')}\r\n`;
}

/** The first ICE credentials in `sdp`; bundled sections all carry the same. */
export function iceCredentialsOf(sdp: string): IceCredentials | null {
  const lines = sdpLines(sdp);
  const value = (prefix: string) =>
    lines
      .find((line) => line.startsWith(prefix))
      ?.slice(prefix.length)
      .trim();
  const ufrag = value('a=ice-ufrag:');
  const password = value('a=ice-pwd:');
  return ufrag && password ? { ufrag, password } : null;
}

/** The m-sections of `sdp` that have a mid, in order. */
export function mediaSectionsOf(sdp: string): MediaSection[] {
  const sections: MediaSection[] = [];
  let line: string | null = null;
  for (const text of sdpLines(sdp)) {
    if (text.startsWith('m=')) line = text;
    else if (line !== null && text.startsWith('a=mid:')) sections.push({ line, mid: text.slice(6).trim() });
  }
  return sections;
}

/** Which transport of the server's to use; anything but `any` is for tests and for diagnosing a network. */
export type TransportChoice = 'any' | 'udp' | 'tcp';

/** `sdp` with only those candidates that match `choice`. */
export function keepCandidates(sdp: string, choice: TransportChoice): string {
  if (choice === 'any') return sdp;
  const keep = (line: string) => !line.startsWith('a=candidate:') || candidateProtocol(line) === choice;
  return joinSdp(sdpLines(sdp).filter(keep));
}

/** `udp` or `tcp`: the third field of a candidate line (RFC 8839 §5.1). */
function candidateProtocol(line: string): string {
  return line.split(' ')[2]?.toLowerCase() ?? '';
}

/**
 * The description `current` with the credentials and candidates of the fragment that answered an ICE restart
 * (RFC 9725 §4.3.3); `null` when the fragment has no credentials.
 */
export function withRestartedIce(current: string, fragment: string): string | null {
  const ice = iceCredentialsOf(fragment);
  if (ice === null) return null;
  const candidates = [...new Set(sdpLines(fragment).filter((line) => line.startsWith('a=candidate:')))];
  const lines: string[] = [];
  let placed = false;
  for (const line of sdpLines(current)) {
    if (line.startsWith('a=candidate:') || line === 'a=end-of-candidates') continue;
    if (line.startsWith('a=ice-ufrag:')) lines.push(`a=ice-ufrag:${ice.ufrag}`);
    else if (line.startsWith('a=ice-pwd:')) lines.push(`a=ice-pwd:${ice.password}`);
    else lines.push(line);
    // Bundled sections share the first one's transport, so its candidates are all there is to say.
    if (!placed && line.startsWith('a=mid:')) {
      lines.push(...candidates, 'a=end-of-candidates');
      placed = true;
    }
  }
  return joinSdp(lines);
}

/**
 * `offer` that also wants lost sound again (RFC 4585 §6.2.1), which browsers can do but do not offer. A server that
 * does not answer likewise changes nothing.
 */
export function withAudioNack(offer: string): string {
  const lines = sdpLines(offer);
  const added = new Set<string>();
  let audio = false;
  return joinSdp(
    lines.flatMap((line) => {
      if (line.startsWith('m=')) audio = line.startsWith('m=audio');
      const format = audio ? /^a=rtpmap:(\d+) opus\//i.exec(line)?.[1] : undefined;
      const feedback = `a=rtcp-fb:${format} nack`;
      if (format === undefined || added.has(format) || lines.includes(feedback)) return [line];
      added.add(format);
      return [line, feedback];
    }),
  );
}

/**
 * `answer` with a first bitrate for the video encoder, in kbit/s. Chromium's estimate starts near 300 kbit/s and needs
 * seconds to climb; other browsers ignore the parameter.
 */
export function withStartBitrate(answer: string, kbps: number): string {
  const lines = sdpLines(answer);
  const start = lines.findIndex((line) => line.startsWith('m=video'));
  const payload = lines[start]?.split(' ')[3];
  if (payload === undefined) return answer;
  const extra = `x-google-start-bitrate=${kbps}`;
  const fmtp = lines.findIndex((line, index) => index > start && line.startsWith(`a=fmtp:${payload} `));
  if (fmtp >= 0) {
    if (lines[fmtp]?.includes('x-google-start-bitrate')) return answer;
    lines[fmtp] = `${lines[fmtp]};${extra}`;
  } else {
    const map = lines.findIndex((line, index) => index > start && line.startsWith(`a=rtpmap:${payload} `));
    if (map < 0) return answer;
    lines.splice(map + 1, 0, `a=fmtp:${payload} ${extra}`);
  }
  return joinSdp(lines);
}
