/** Tells a picture that stands still from a stream that stopped. Pure: fed with one sample a second. */

/**
 * - `flowing`: frames come
 * - `frozen`: packets come, no frame does: loss, or waiting for a keyframe
 * - `silent`: nothing comes: the publisher is away, or the path is dead
 * - `dead`: silent for so long that a new session is the better bet
 */
export type Flow = 'flowing' | 'frozen' | 'silent' | 'dead';

/** The time limits, in milliseconds. */
export interface StallLimits {
  /** A gap that a person notices as a stop rather than a stutter. */
  readonly stallMs: number;
  /**
   * Longer than the server keeps viewers for a publisher that left without a word: 30 s until its consent expires, then
   * 60 s of grace. A session that outlives that is one that the server has forgotten.
   */
  readonly deadMs: number;
}

export const STALL_LIMITS: StallLimits = { stallMs: 2_000, deadMs: 120_000 };

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

  constructor(
    private readonly limits: StallLimits,
    nowMs: number,
  ) {
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
    const silentMs = nowMs - this.#packetsAtMs;
    if (silentMs >= this.limits.deadMs) return 'dead';
    if (silentMs >= this.limits.stallMs) return 'silent';
    return nowMs - this.#framesAtMs >= this.limits.stallMs ? 'frozen' : 'flowing';
  }
}
