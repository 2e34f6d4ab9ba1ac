/** How long a player holds media back while packets are lost, so that repairs come in time. Pure: one sample a second. */

/** What a sample says; counters only grow. */
export interface RepairProgress {
  readonly packets: number;
  /** Packets that the browser asked for again. */
  readonly nacks: number;
  readonly freezes: number;
  /** `null` until the browser has measured it. */
  readonly roundTripMs: number | null;
}

/** Requests per packet from which repair is part of the stream's life: below it a browser's own buffer copes. */
const LOSSY_RATIO = 0.01;

/** How long a path is held to be lossy after it last was: bursts come back within seconds. */
const LOSSY_MS = 20_000;

/** A packet that was lost three times in a row is there after this many round trips, with what requests wait for. */
const ROUND_TRIPS = 3;
const REQUEST_WAIT_MS = 100;

/** Added with each freeze: the publisher's own path, which nobody here can measure, may need repairs too. */
const FREEZE_STEP_MS = 100;

/** Beyond it people who talk to each other notice, and delay stays well below a second. */
const MOST_MS = 600;

/** Starts anew with every session. */
export class HoldBack {
  #before: RepairProgress | null = null;
  #lossyUntilMs = 0;
  #freezes = 0;

  /** What the jitter buffer should hold, in ms; `null` leaves it to the browser. */
  observe(nowMs: number, progress: RepairProgress): number | null {
    const before = this.#before;
    this.#before = progress;
    if (before === null) return null;
    const packets = progress.packets - before.packets;
    if (packets > 0 && (progress.nacks - before.nacks) / packets >= LOSSY_RATIO) {
      this.#lossyUntilMs = nowMs + LOSSY_MS;
    }
    if (nowMs >= this.#lossyUntilMs) {
      this.#freezes = 0;
      return null;
    }
    this.#freezes += Math.max(0, progress.freezes - before.freezes);
    const repairMs = ROUND_TRIPS * (progress.roundTripMs ?? 0) + REQUEST_WAIT_MS;
    // In steps, because every change makes the browser stretch or squeeze sound and picture for a moment.
    const wanted = repairMs + this.#freezes * FREEZE_STEP_MS;
    return Math.min(MOST_MS, Math.ceil(wanted / FREEZE_STEP_MS) * FREEZE_STEP_MS);
  }
}
