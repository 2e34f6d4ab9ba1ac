/** What the server tells a viewer while it watches: server-sent events of WHEP, read into plain values. */

import { type BackoffBounds, backoffMs } from '../backoff.ts';
import { Emitter, type Unsubscribe } from '../emitter.ts';
import { type Endpoint, postEvents } from '../session/endpoint.ts';
import { SessionFailure } from '../session/failure.ts';
import { EventStreams } from './event-streams.ts';
import { isSoundOnly, readLayers, type VideoLayer } from './video-layer.ts';

/** What is told. */
export interface ViewerEventMap {
  /** The server tells from now on, or no more: then one has to ask. */
  open: boolean;
  /** Whether the stream is on air. */
  live: boolean;
  /** The layers that are being sent and may be chosen, best first. */
  layers: readonly VideoLayer[];
  /** Whether no picture is sent, as this viewer's network carries none beside the sound. */
  soundOnly: boolean;
  viewers: number;
  /** The session should move to this WHEP endpoint; `null` is the one that it came from. */
  reconnect: string | null;
}

/** As much of a browser's `EventSource` as is used. */
export type OpenEventSource = (url: string) => EventSource;

const EVENTS = ['active', 'inactive', 'layers', 'viewercount', 'reconnect'] as const;

/** Of `EventSource.readyState`: the browser does not try again. */
const CLOSED = 2;

/** Between attempts at a server that is full or asked too often: one can do without events for a while. */
const REFUSED_BACKOFF: BackoffBounds = { firstMs: 4_000, maxMs: 60_000 };

/** Those of the players of this page. */
const PAGE_STREAMS = new EventStreams();

/**
 * Made for one session; {@link close} it with that. A server without events is no error, and one that has no room for now is
 * asked again.
 */
export class ViewerEvents extends Emitter<ViewerEventMap> {
  readonly #openSource: OpenEventSource;
  readonly #streams: EventStreams;
  readonly #abort = new AbortController();
  #source: EventSource | null = null;
  #leave: Unsubscribe | null = null;
  #open = false;
  #noticed: boolean;
  /** Refusals in a row. */
  #refusals = 0;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(
    noticed: boolean,
    openSource: OpenEventSource = (url) => new EventSource(url),
    streams = PAGE_STREAMS,
  ) {
    super();
    this.#noticed = noticed;
    this.#openSource = openSource;
    this.#streams = streams;
  }

  /** Asks `url`, the session's address for events, for a stream of all that we know. */
  async start(endpoint: Endpoint, url: string): Promise<void> {
    try {
      const stream = await postEvents(endpoint, url, EVENTS, this.#abort.signal);
      if (this.#abort.signal.aborted) return;
      this.#refusals = 0;
      this.#enter(stream);
    } catch (failure) {
      // Whoever wants to know asks instead, as before there were events.
      if (this.#abort.signal.aborted || !mayPass(failure)) return;
      this.#later(() => void this.start(endpoint, url), failure.retryAfterMs ?? 0);
    }
  }

  /** Whether what plays is heard or seen although the page is hidden; what is not gives its stream up then. */
  set noticed(noticed: boolean) {
    if (noticed === this.#noticed) return;
    this.#noticed = noticed;
    this.#streams.settle();
  }

  /** Hears no more. The server ends the stream with the session. */
  close(): void {
    this.#abort.abort();
    clearTimeout(this.#retry);
    this.#quit();
  }

  #enter(url: string): void {
    this.#leave = this.#streams.enter({
      noticed: () => this.#noticed,
      open: () => this.#listen(url),
      close: () => this.#pause(),
    });
  }

  #quit(): void {
    this.#leave?.();
    this.#leave = null;
  }

  #later(again: () => void, leastMs: number): void {
    const delayMs = backoffMs(this.#refusals, REFUSED_BACKOFF, Math.random);
    this.#refusals += 1;
    this.#retry = setTimeout(again, Math.max(delayMs, leastMs));
  }

  /** Hears nothing for a while: the server says everything anew when it is asked again. */
  #pause(): void {
    this.#source?.close();
    this.#source = null;
    this.#setOpen(false);
  }

  #listen(url: string): void {
    const source = this.#openSource(url);
    this.#source = source;
    source.addEventListener('open', () => {
      this.#refusals = 0;
      this.#setOpen(true);
    });
    source.addEventListener('error', () => {
      // A broken connection is made again by the browser, one that was refused is not: the turn is another's meanwhile.
      if (source.readyState !== CLOSED || source !== this.#source) return;
      this.#quit();
      this.#later(() => this.#enter(url), 0);
    });
    const on = (name: (typeof EVENTS)[number], tell: (data: unknown) => void) =>
      source.addEventListener(name, (event) => tell(parse((event as MessageEvent).data)));
    on('active', () => this.emit('live', true));
    on('inactive', () => this.emit('live', false));
    on('layers', (data) => {
      this.emit('soundOnly', isSoundOnly(data));
      this.emit('layers', readLayers(data));
    });
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

/** Whether the server may take at another time what it did not take now. */
function mayPass(failure: unknown): failure is SessionFailure {
  return (
    failure instanceof SessionFailure && (failure.kind === 'overloaded' || failure.kind === 'unreachable')
  );
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
