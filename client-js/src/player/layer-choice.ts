/** Which layer a viewer has chosen: kept over sessions, and told to the server in order until it takes it or refuses. */

import { politeDelayMs } from '../backoff.ts';
import { type LayerWish, postLayer } from '../session/endpoint.ts';
import { SessionFailure } from '../session/failure.ts';
import type { WhipWhepSession } from '../session/whip-whep-session.ts';

/** A server that has not answered by now is taken for lost: twice what a slow network needs. */
const ANSWER_MS = 5_000;

/** Time until a wish for a layer is told again that the server could not take, unless it says when. */
const RETRY_MS = 2_000;

/** What is chosen, by the id of its layer and as the server is asked for it. */
export interface ChosenLayer {
  readonly id: string;
  readonly wish: LayerWish;
}

/** As much of a session as is used. */
export type LayeredSession = Pick<WhipWhepSession, 'endpoint' | 'extensions'>;

/** One player's choice. `refused` hears that it was given up. One request is under way at a time, for one session. */
export class LayerChoice {
  readonly #refused: () => void;
  #session: LayeredSession | null = null;
  #chosen: ChosenLayer | null = null;
  /** What the session is known to go by, `undefined` while that is not known. */
  #granted: ChosenLayer | null | undefined = null;
  #told: Promise<void> = Promise.resolve();
  /** How often something was to be told: only the latest wish counts. */
  #asked = 0;
  #request: AbortController | null = null;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(refused: () => void) {
    this.#refused = refused;
  }

  /** `null` leaves the choice to the server. */
  get chosen(): ChosenLayer | null {
    return this.#chosen;
  }

  /** Plays by `session` from now on, and tells it what is chosen; nothing more is asked of the one before. */
  adopt(session: LayeredSession | null): void {
    if (session === this.#session) return;
    clearTimeout(this.#retry);
    this.#request?.abort();
    this.#session = session;
    this.#granted = null;
    this.#told = Promise.resolve();
    void this.#tell();
  }

  /** Chooses, and tells the present session. Resolves with its answer. */
  choose(layer: ChosenLayer | null): Promise<void> {
    this.#chosen = layer;
    return this.#tell();
  }

  /**
   * Tells the present session what is chosen once the wish before has its answer, so that the last one stays. Those that
   * another one has overtaken by then are not told.
   */
  #tell(): Promise<void> {
    clearTimeout(this.#retry);
    const session = this.#session;
    this.#asked += 1;
    const turn = this.#asked;
    const post = () => (session !== null && turn === this.#asked ? this.#post(session) : undefined);
    this.#told = this.#told.then(post);
    return this.#told;
  }

  async #post(session: LayeredSession): Promise<void> {
    const url = session.extensions?.layer ?? null;
    const chosen = this.#chosen;
    const before = this.#granted;
    if (url === null || session !== this.#session || chosen === before) return;
    const request = new AbortController();
    const timer = setTimeout(() => request.abort(), ANSWER_MS);
    this.#request = request;
    this.#granted = undefined;
    let failure: unknown = null;
    try {
      await postLayer(session.endpoint, url, chosen?.wish ?? {}, request.signal);
    } catch (error) {
      failure = error;
    }
    clearTimeout(timer);
    if (session !== this.#session) return;
    if (failure === null) this.#granted = chosen;
    // A refusal changes nothing.
    else if (isFinal(failure)) this.#granted = before;
    if (failure !== null && chosen === this.#chosen) this.#failed(failure);
  }

  #failed(failure: unknown): void {
    if (!isFinal(failure)) {
      // The choice outlives a network that is away for a moment.
      const askedMs = failure instanceof SessionFailure ? failure.retryAfterMs : null;
      const delayMs = askedMs === null ? RETRY_MS : politeDelayMs(askedMs, Math.random);
      this.#retry = setTimeout(() => void this.#tell(), delayMs);
    } else if (this.#chosen !== null) {
      // The publisher has no such layer any more: what the server chooses is better than what is not there.
      this.#chosen = null;
      this.#refused();
      void this.#tell();
    }
  }
}

/** Whether asking again is pointless. */
function isFinal(failure: unknown): boolean {
  return failure instanceof SessionFailure && (failure.kind === 'refused' || failure.kind === 'unauthorized');
}
