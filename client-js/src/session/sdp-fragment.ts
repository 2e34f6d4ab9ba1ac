/** Builds `application/trickle-ice-sdpfrag` bodies (RFC 8840 §4.4, RFC 9725 §4.3). */

import { type IceCredentials, joinSdp, type MediaSection } from './sdp.ts';

/** A candidate as the browser hands it over. */
export interface TrickledCandidate {
  /** `candidate:…`, without `a=`. */
  readonly candidate: string;
  /** Mid of the m-section that it belongs to; the first one's when the browser does not say. */
  readonly mid: string | null;
}

/** What one `PATCH` says. */
export interface FragmentContent {
  readonly ice: IceCredentials;
  readonly sections: readonly MediaSection[];
  readonly candidates: readonly TrickledCandidate[];
  /** Whether gathering is over. */
  readonly complete: boolean;
}

/**
 * The fragment's text. All sections are bundled, so the first carries every candidate; with nothing to say beyond
 * credentials (a restart before gathering) it has just those.
 */
export function buildFragment(content: FragmentContent): string {
  const { ice, sections, candidates, complete } = content;
  const lines: string[] = [];
  if (sections.length > 0) lines.push(`a=group:BUNDLE ${sections.map((section) => section.mid).join(' ')}`);
  lines.push(`a=ice-ufrag:${ice.ufrag}`, `a=ice-pwd:${ice.password}`);
  const first = sections[0];
  for (const section of sections) {
    const own = candidates.filter(({ mid }) => (mid ?? first?.mid) === section.mid);
    if (own.length === 0 && section !== first) continue;
    lines.push(section.line, `a=mid:${section.mid}`);
    lines.push(...own.map(({ candidate }) => `a=${candidate.replace(/^a=/, '')}`));
    if (complete) lines.push('a=end-of-candidates');
  }
  return joinSdp(lines);
}
