/** What passed a {@link Link} of a picture, and when: the phases between a publisher's first packet and its first picture. */

import type { Watcher } from './link.ts';

/** Payload types of RTCP when it shares a port with RTP (RFC 5761 §4). */
const RTCP_TYPES = [64, 95] as const;

/** What Chromium calls Opus, RED with Opus and comfort noise: the rest is video. */
const AUDIO_TYPES: readonly number[] = [111, 63, 9, 0, 8, 13, 110, 126];

/** Profile of one-byte header extensions (RFC 8285 §4.2). */
const ONE_BYTE_PROFILE = 0xbede;

/** What is read of a packet. */
interface Header {
  readonly payloadType: number;
  readonly ssrc: number;
  readonly rid: string | null;
}

/** Packets of one stream in one direction. */
interface Stream {
  readonly firstMs: number;
  readonly toServer: boolean;
  readonly name: string;
}

/** Watches a link from when it is made. */
export class Passage {
  readonly #streams = new Map<string, Stream>();
  readonly #outMs: number[] = [];

  readonly watcher: Watcher = (atMs, toServer, flow, datagram) => {
    const header = readRtp(datagram);
    if (header === null || AUDIO_TYPES.includes(header.payloadType)) return;
    if (!toServer) this.#outMs.push(atMs);
    const key = `${flow} ${header.ssrc}`;
    if (this.#streams.has(key)) return;
    const name = `${header.rid ?? header.ssrc}/${header.payloadType}`;
    this.#streams.set(key, { firstMs: atMs, toServer, name });
  };

  /** When the first packets of each layer came to the server, and the first one left it, as ms since `sinceMs`. */
  describe(sinceMs: number): string {
    const arrived = [...this.#streams.values()].filter((stream) => stream.toServer);
    const layers = arrived.map((stream) => `${stream.name} ${after(stream.firstMs, sinceMs)}`);
    const out = this.#outMs.find((atMs) => atMs >= (arrived[0]?.firstMs ?? sinceMs));
    return `in ${layers.join(', ')}; out ${out === undefined ? 'never' : after(out, sinceMs)}`;
  }
}

function after(atMs: number, sinceMs: number): string {
  const ms = Math.round(atMs - sinceMs);
  return ms < 0 ? String(ms) : `+${ms}`;
}

/** Of an RTP packet, what is not encrypted; `null` for anything else. */
function readRtp(datagram: Uint8Array): Header | null {
  const view = new DataView(datagram.buffer, datagram.byteOffset, datagram.byteLength);
  if (view.byteLength < 16 || view.getUint8(0) >> 6 !== 2) return null;
  const payloadType = view.getUint8(1) & 0x7f;
  if (payloadType >= RTCP_TYPES[0] && payloadType <= RTCP_TYPES[1]) return null;
  const start = 12 + 4 * (view.getUint8(0) & 0x0f);
  const extended = (view.getUint8(0) & 0x10) !== 0;
  const elements = extended ? elementsOf(view, start) : [];
  const rid = elements.find((element) => ['q', 'h', 'f'].includes(element)) ?? null;
  return { payloadType, ssrc: view.getUint32(8), rid };
}

/** The elements of the extension block at `start` as text (RFC 8285 §4). */
function elementsOf(view: DataView, start: number): string[] {
  const headBytes = view.getUint16(start) === ONE_BYTE_PROFILE ? 1 : 2;
  const end = Math.min(start + 4 + 4 * view.getUint16(start + 2), view.byteLength);
  const elements: string[] = [];
  for (let place = start + 4; place < end; ) {
    const head = view.getUint8(place);
    if (head === 0) {
      place += 1;
      continue;
    }
    const size = headBytes === 1 ? (head & 0x0f) + 1 : view.getUint8(place + 1);
    const from = place + headBytes;
    const bytes = Array.from({ length: Math.min(size, end - from) }, (_, at) => view.getUint8(from + at));
    elements.push(String.fromCharCode(...bytes));
    place = from + size;
  }
  return elements;
}
