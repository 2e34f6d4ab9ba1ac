/**
 * How many event streams a page keeps open: browsers make six connections to a host over HTTP/1.1, for all their tabs
 * together, and one is taken for as long as a stream of events is open. A hidden page gives its own up.
 */

import type { Unsubscribe } from '../emitter.ts';

/** Half of what a browser has for a host: the rest is for joining, moving and leaving. */
const OPEN_MAX = 3;

/** One that wants a stream; told to open it and to close it, as often as needed. */
export interface EventStream {
  open(): void;
  close(): void;
}

/** As much of `document` as is asked. */
type Page = Pick<Document, 'visibilityState' | 'addEventListener'>;

/** Who listens, in the order of coming; the first ones have their streams open while the page is seen. */
export class EventStreams {
  readonly #page: Page | null;
  readonly #waiting = new Set<EventStream>();
  readonly #open = new Set<EventStream>();

  constructor(page: Page | null = globalThis.document ?? null) {
    this.#page = page;
    page?.addEventListener('visibilitychange', () => this.#settle());
  }

  /** Opens `stream` as soon as there is room; call what is returned when it is needed no more. */
  enter(stream: EventStream): Unsubscribe {
    this.#waiting.add(stream);
    this.#settle();
    return () => {
      this.#waiting.delete(stream);
      this.#settle();
    };
  }

  #settle(): void {
    const seen = this.#page?.visibilityState !== 'hidden';
    const chosen = new Set([...this.#waiting].slice(0, seen ? OPEN_MAX : 0));
    for (const stream of [...this.#open].filter((stream) => !chosen.has(stream))) {
      this.#open.delete(stream);
      stream.close();
    }
    for (const stream of [...chosen].filter((stream) => !this.#open.has(stream))) {
      this.#open.add(stream);
      stream.open();
    }
  }
}
