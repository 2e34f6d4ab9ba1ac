/** The token that a client shows, and where it gets the next one when the server takes this one no more. */

import { SessionFailure } from './failure.ts';

/** A bearer token, or a function that gets one. */
export type TokenSource = string | (() => string | Promise<string>);

/**
 * For one publisher or player, and all its sessions. A function is asked for the first token when one is needed, and for another
 * each time the server answers 401: tokens of an hour then do not end a broadcast of two. Each refused request is sent once more.
 */
export class Bearer {
  readonly #source: TokenSource | undefined;
  #token: string | undefined;
  #asked: Promise<string> | null = null;

  constructor(source?: TokenSource) {
    this.#source = source;
    if (typeof source === 'string') this.#token = source;
  }

  /**
   * Sends a request as whom we are. Where the token is known it is on its way when this returns: a page that goes away has no
   * time for more. Throws what `fetch` does, and a {@link SessionFailure} where no token can be had.
   */
  async fetch(fetch: typeof globalThis.fetch, url: string, init: RequestInit): Promise<Response> {
    const waits = this.#token === undefined && typeof this.#source === 'function';
    const shown = waits ? await this.#next(undefined, init.signal) : this.#token;
    if (waits) init.signal?.throwIfAborted();
    const response = await fetch(url, this.#signed(init, shown));
    if (response.status !== 401 || typeof this.#source !== 'function') return response;
    const next = await this.#next(shown, init.signal);
    init.signal?.throwIfAborted();
    return next === shown ? response : fetch(url, this.#signed(init, next));
  }

  #signed(init: RequestInit, token: string | undefined): RequestInit {
    const headers = new Headers(init.headers);
    if (token !== undefined && token !== '') headers.set('Authorization', `Bearer ${token}`);
    return { ...init, headers };
  }

  /**
   * Another token than `refused`; requests that are refused together have it asked for once. Who gives up has the next one ask
   * anew: a function that never answers must not keep every later request waiting.
   */
  async #next(refused: string | undefined, signal?: AbortSignal | null): Promise<string | undefined> {
    if (this.#token !== refused || typeof this.#source !== 'function') return this.#token;
    const source = this.#source;
    this.#asked ??= (async () => source())();
    const asked = this.#asked;
    try {
      this.#token = await unlessAborted(asked, signal);
    } catch (error) {
      signal?.throwIfAborted();
      throw new SessionFailure('unreachable', `no token can be had: ${String(error)}`);
    } finally {
      if (this.#asked === asked) this.#asked = null;
    }
    return this.#token;
  }
}

/** What `promise` comes to, unless `signal` is first. */
function unlessAborted<T>(promise: Promise<T>, signal?: AbortSignal | null): Promise<T> {
  if (!signal) return promise;
  return new Promise((resolve, reject) => {
    const abort = () => reject(signal.reason);
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort));
    if (signal.aborted) abort();
    else signal.addEventListener('abort', abort, { once: true });
  });
}
