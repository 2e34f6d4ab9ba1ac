/** Tells a picture that stands still from a stream that stopped. Pure: fed with one sample a second. */

/**
 * - `flowing`: frames come
 * - `frozen`: packets come, no frame does: loss, or waiting for a keyframe
 * - `silent`: nothing comes: the publisher is away. For how long is the server's affair: it ends the session when nobody is
 *   waited for any more, and a path that is dead shows in the connection
 */
export type Flow = 'flowing' | 'frozen' | 'silent';

/** Milliseconds: a gap that a person notices as a stop rather than a stutter. */
export const STALL_MS = 2_000;

/** What a sample says about progress; both only grow. */
export interface Progress {
  readonly packets: number;
  /** Frames decoded; `null` for a stream without video. */
  readonly frames: number | null;
}

/** Starts anew with every session. */
export class StallWatch {
  #packets = -1;
  #frames = -1;
  #packetsAtMs: number;
  #framesAtMs: number;

  constructor(nowMs: number) {
    this.#packetsAtMs = nowMs;
    this.#framesAtMs = nowMs;
  }

  observe(nowMs: number, progress: Progress): Flow {
    if (progress.packets !== this.#packets) {
      this.#packets = progress.packets;
      this.#packetsAtMs = nowMs;
    }
    const frames = progress.frames ?? progress.packets;
    if (frames !== this.#frames) {
      this.#frames = frames;
      this.#framesAtMs = nowMs;
    }
    if (nowMs - this.#packetsAtMs >= STALL_MS) return 'silent';
    return nowMs - this.#framesAtMs >= STALL_MS ? 'frozen' : 'flowing';
  }
}
