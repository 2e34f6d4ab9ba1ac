/** Asks a connection for its statistics once a second and hands on what a reader makes of them. */

import type { StatsSource } from './report.ts';

/** Time between samples: what a person can read, and what counters need to become smooth rates. */
export const SAMPLE_INTERVAL_MS = 1_000;

/** Reads one sample out of a report, given the sample before. */
export type SampleReader<Sample> = (report: StatsSource, atMs: number, previous: Sample | null) => Sample;

/** Runs from its making until {@link stop}. */
export class StatsSampler<Sample> {
  #previous: Sample | null = null;
  #stopped = false;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly connection: Pick<RTCPeerConnection, 'getStats'>,
    private readonly read: SampleReader<Sample>,
    private readonly sampled: (sample: Sample) => void,
  ) {
    this.#timer = setInterval(() => void this.#sample(), SAMPLE_INTERVAL_MS);
  }

  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
  }

  async #sample(): Promise<void> {
    const report = await this.connection.getStats().catch(() => null);
    if (report === null || this.#stopped) return;
    this.#previous = this.read(report as unknown as StatsSource, Date.now(), this.#previous);
    this.sampled(this.#previous);
  }
}
