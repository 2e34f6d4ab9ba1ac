/**
 * How many event streams a page keeps open: browsers make six connections to a host over HTTP/1.1, for all their tabs
 * together, and one is taken for as long as a stream of events is open.
 *
 * A page that is seen has a few. One that is hidden keeps one, for a player that a person hears or has in a window of its own:
 * it must hear that its server asks it to move. Without such a player it keeps one for a while, as tabs come back.
 */

import type { Unsubscribe } from '../emitter.ts';

/** Half of what a browser has for a host: the rest is for joining, moving and leaving. */
const OPEN_MAX = 3;

/** Of a hidden page: there may be many of them. */
const HIDDEN_OPEN_MAX = 1;

/** Whoever goes through their tabs comes back by then, and each stream that is opened anew costs the server a request. */
const LINGER_MS = 30_000;

/** One that wants a stream; told to open it and to close it, as often as needed. */
export interface EventStream {
  /** Whether what plays is heard or seen although the page is hidden. After a change, {@link EventStreams.settle}. */
  noticed(): boolean;
  open(): void;
  close(): void;
}

/** As much of `document` as is asked. */
type Page = Pick<Document, 'visibilityState' | 'addEventListener'>;

/** Who listens, in the order of coming. */
export class EventStreams {
  readonly #page: Page | null;
  readonly #waiting = new Set<EventStream>();
  readonly #open = new Set<EventStream>();
  /** Until a page that was hidden has been so for long. */
  #lingering: ReturnType<typeof setTimeout> | null = null;

  constructor(page: Page | null = globalThis.document ?? null) {
    this.#page = page;
    page?.addEventListener('visibilitychange', () => this.#pageChanged());
  }

  /** Opens `stream` as soon as there is room; call what is returned when it is needed no more. */
  enter(stream: EventStream): Unsubscribe {
    this.#waiting.add(stream);
    this.settle();
    return () => {
      this.#waiting.delete(stream);
      this.settle();
    };
  }

  /** Opens and closes streams, so that those whose turn it is are open. */
  settle(): void {
    const chosen = new Set(this.#turns());
    for (const stream of [...this.#open].filter((stream) => !chosen.has(stream))) {
      this.#open.delete(stream);
      stream.close();
    }
    for (const stream of [...chosen].filter((stream) => !this.#open.has(stream))) {
      this.#open.add(stream);
      stream.open();
    }
  }

  #turns(): EventStream[] {
    const waiting = [...this.#waiting];
    if (this.#page?.visibilityState !== 'hidden') return waiting.slice(0, OPEN_MAX);
    const noticed = waiting.filter((stream) => stream.noticed());
    const lingering = this.#lingering === null ? [] : [...this.#open];
    return [...noticed, ...lingering].slice(0, HIDDEN_OPEN_MAX);
  }

  #pageChanged(): void {
    if (this.#lingering !== null) clearTimeout(this.#lingering);
    this.#lingering = null;
    if (this.#page?.visibilityState === 'hidden') {
      this.#lingering = setTimeout(() => {
        this.#lingering = null;
        this.settle();
      }, LINGER_MS);
    }
    this.settle();
  }
}
