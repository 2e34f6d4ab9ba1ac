/** Collects the browser's candidates and says what the next PATCH holds; one PATCH is under way at a time. */

import { iceCredentialsOf, mediaSectionsOf } from './sdp.ts';
import { buildFragment, type TrickledCandidate } from './sdp-fragment.ts';

/** Pure: the session does the sending. */
export class TrickleQueue {
  #pending: TrickledCandidate[] = [];
  #complete = false;
  #completeSent = false;
  #busy = false;

  /** A candidate from the browser; `null` when gathering is over. */
  add(candidate: TrickledCandidate | null): void {
    if (candidate === null) this.#complete = true;
    else if (candidate.candidate !== '') this.#pending.push(candidate);
  }

  /** The body of the next PATCH for the local description `sdp`, or `null` when there is none to send now. */
  next(sdp: string): string | null {
    const news = this.#pending.length > 0 || (this.#complete && !this.#completeSent);
    const ice = iceCredentialsOf(sdp);
    if (this.#busy || !news || ice === null) return null;
    this.#busy = true;
    this.#completeSent = this.#complete;
    const candidates = this.#pending;
    this.#pending = [];
    return buildFragment({ ice, sections: mediaSectionsOf(sdp), candidates, complete: this.#complete });
  }

  /** The PATCH of the last {@link next} has been answered, one way or another. */
  done(): void {
    this.#busy = false;
  }

  /** Gathering starts anew: an ICE restart. What was not sent belongs to credentials that no longer count. */
  reset(): void {
    this.#pending = [];
    this.#complete = false;
    this.#completeSent = false;
  }
}
