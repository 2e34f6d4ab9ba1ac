/** Which layer a viewer has chosen: kept over sessions, and told to the server in order until it takes it or refuses. */

import { type LayerWish, postLayer } from '../session/endpoint.ts';
import { SessionFailure } from '../session/failure.ts';
import type { WhipWhepSession } from '../session/whip-whep-session.ts';

/** Time until a wish for a layer is told again that the server could not take. */
const RETRY_MS = 2_000;

/** What is chosen, by the id of its layer and as the server is asked for it. */
export interface ChosenLayer {
  readonly id: string;
  readonly wish: LayerWish;
}

/** One player's choice. `present` is the session that plays; `refused` hears that the choice was given up. */
export class LayerChoice {
  readonly #present: () => WhipWhepSession | null;
  readonly #refused: () => void;
  #chosen: ChosenLayer | null = null;
  #told: Promise<void> = Promise.resolve();

  constructor(present: () => WhipWhepSession | null, refused: () => void) {
    this.#present = present;
    this.#refused = refused;
  }

  /** `null` leaves the choice to the server. */
  get chosen(): ChosenLayer | null {
    return this.#chosen;
  }

  /** Chooses, and tells the present session. */
  async choose(layer: ChosenLayer | null): Promise<void> {
    this.#chosen = layer;
    const session = this.#present();
    if (session !== null) await this.tell(session);
  }

  /** Tells `session` what is chosen once the wishes before have their answers, so that the last one stays. */
  tell(session: WhipWhepSession): Promise<void> {
    this.#told = this.#told.then(() => this.#post(session));
    return this.#told;
  }

  async #post(session: WhipWhepSession): Promise<void> {
    const url = session.extensions?.layer ?? null;
    const chosen = this.#chosen;
    if (url === null || session !== this.#present()) return;
    try {
      await postLayer(session.endpoint, url, chosen?.wish ?? {});
    } catch (failure) {
      if (chosen !== this.#chosen) return;
      if (isFinal(failure)) {
        // The publisher has no such layer any more: what the server chooses is better than what is not there.
        this.#chosen = null;
        this.#refused();
      } else {
        // The choice outlives a network that is away for a moment.
        setTimeout(() => void this.tell(session), RETRY_MS);
      }
    }
  }
}

/** Whether asking again is pointless. */
function isFinal(failure: unknown): boolean {
  return failure instanceof SessionFailure && (failure.kind === 'refused' || failure.kind === 'unauthorized');
}
