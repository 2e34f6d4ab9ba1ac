/** What the server tells a viewer while it watches: server-sent events of WHEP, read into plain values. */

import { Emitter } from '../emitter.ts';
import { type Endpoint, postEvents } from '../session/endpoint.ts';

/** One layer of the video, as a person may choose it. */
export interface VideoLayer {
  /** Its simulcast name. */
  readonly rid: string;
  /** Pixels; `null` until the server knows. */
  readonly width: number | null;
  readonly height: number | null;
  readonly bitrateBps: number;
}

/** What is told. */
export interface ViewerEventMap {
  /** The server tells from now on, or no more: then one has to ask. */
  open: boolean;
  /** Whether the stream is on air. */
  live: boolean;
  /** The layers that are being sent, best first. */
  layers: readonly VideoLayer[];
  viewers: number;
  /** The session should move to this WHEP endpoint; `null` is the one that it came from. */
  reconnect: string | null;
}

/** As much of a browser's `EventSource` as is used. */
export type OpenEventSource = (url: string) => EventSource;

const EVENTS = ['active', 'inactive', 'layers', 'viewercount', 'reconnect'] as const;

/** Of `EventSource.readyState`: the browser does not try again. */
const CLOSED = 2;

/** Made for one session; {@link close} it with that. A server without events, or one that is full, is no error. */
export class ViewerEvents extends Emitter<ViewerEventMap> {
  readonly #openSource: OpenEventSource;
  readonly #abort = new AbortController();
  #source: EventSource | null = null;
  #open = false;

  constructor(openSource: OpenEventSource = (url) => new EventSource(url)) {
    super();
    this.#openSource = openSource;
  }

  /** Asks `url`, the session's address for events, for a stream of all that we know. */
  async start(endpoint: Endpoint, url: string): Promise<void> {
    try {
      const stream = await postEvents(endpoint, url, EVENTS, this.#abort.signal);
      if (!this.#abort.signal.aborted) this.#listen(stream);
    } catch {
      // Whoever wants to know asks instead, as before there were events.
    }
  }

  /** Hears no more. The server ends the stream with the session. */
  close(): void {
    this.#abort.abort();
    this.#source?.close();
    this.#setOpen(false);
  }

  #listen(url: string): void {
    const source = this.#openSource(url);
    this.#source = source;
    source.addEventListener('open', () => this.#setOpen(true));
    source.addEventListener('error', () => {
      // A broken connection is made again by the browser; only a refusal is final.
      if (source.readyState === CLOSED) this.#setOpen(false);
    });
    const on = (name: (typeof EVENTS)[number], tell: (data: unknown) => void) =>
      source.addEventListener(name, (event) => tell(parse((event as MessageEvent).data)));
    on('active', () => this.emit('live', true));
    on('inactive', () => this.emit('live', false));
    on('layers', (data) => this.emit('layers', readLayers(data)));
    on('viewercount', (data) => {
      const { viewercount } = data as { viewercount?: unknown };
      if (typeof viewercount === 'number') this.emit('viewers', viewercount);
    });
    on('reconnect', (data) => this.emit('reconnect', readUrl((data as { url?: unknown }).url, url)));
  }

  #setOpen(open: boolean): void {
    if (open === this.#open) return;
    this.#open = open;
    this.emit('open', open);
  }
}

function parse(text: unknown): unknown {
  try {
    const value: unknown = JSON.parse(String(text));
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** An address that a page may send its offer to, or `null`. */
function readUrl(url: unknown, base: string): string | null {
  if (typeof url !== 'string' || !URL.canParse(url, base)) return null;
  const { href, protocol } = new URL(url, base);
  return protocol === 'https:' || protocol === 'http:' ? href : null;
}

/**
 * The layers that are being sent, whatever section they are of: there is one video. Those of earlier drafts have an
 * `encodingId` and stand one object deeper.
 */
export function readLayers(data: unknown): VideoLayer[] {
  const layers = Object.values(data as object).flatMap((section: unknown) => {
    if (Array.isArray(section)) return section;
    const { layers: inner } = (section ?? {}) as { layers?: unknown };
    return Array.isArray(inner) ? inner : [];
  });
  return layers
    .map(readLayer)
    .filter((layer) => layer !== null)
    .sort(byQuality);
}

function readLayer(value: unknown): VideoLayer | null {
  const layer = (value ?? {}) as Record<string, unknown>;
  const rid = layer.rid ?? layer.encodingId;
  const number = (field: unknown) => (typeof field === 'number' && field > 0 ? field : null);
  const bitrateBps = number(layer.bitrate);
  if (typeof rid !== 'string' || bitrateBps === null || layer.active === false) return null;
  return { rid, bitrateBps, width: number(layer.width), height: number(layer.height) };
}

function byQuality(a: VideoLayer, b: VideoLayer): number {
  return (b.height ?? 0) - (a.height ?? 0) || b.bitrateBps - a.bitrateBps;
}
