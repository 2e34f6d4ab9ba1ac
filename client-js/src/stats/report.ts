/** Reads an `RTCStatsReport` without trusting that any browser fills every field. */

/** One entry: a bag of numbers and texts. */
export type StatsEntry = Readonly<Record<string, unknown>> & { readonly id: string; readonly type: string };

/** Anything that lists entries: an `RTCStatsReport`, or a map in tests. */
export interface StatsSource {
  forEach(visit: (entry: StatsEntry) => void): void;
}

/** The entries of a report, by id and by type. */
export class StatsIndex {
  readonly #byId = new Map<string, StatsEntry>();

  constructor(report: StatsSource) {
    report.forEach((entry) => {
      this.#byId.set(entry.id, entry);
    });
  }

  byId(id: unknown): StatsEntry | undefined {
    return typeof id === 'string' ? this.#byId.get(id) : undefined;
  }

  /** The first entry of `type` that `matches`. */
  find(type: string, matches: (entry: StatsEntry) => boolean = () => true): StatsEntry | undefined {
    for (const entry of this.#byId.values()) {
      if (entry.type === type && matches(entry)) return entry;
    }
    return undefined;
  }

  /** All entries of `type` that `matches`. */
  all(type: string, matches: (entry: StatsEntry) => boolean = () => true): StatsEntry[] {
    return [...this.#byId.values()].filter((entry) => entry.type === type && matches(entry));
  }

  /** Whatever the browser says of the transport and the candidate pair that carry the media. */
  get path(): PathFigures {
    const transport = this.find('transport');
    const pair =
      this.byId(transport?.selectedCandidatePairId) ??
      this.find('candidate-pair', (entry) => entry.nominated === true && entry.state === 'succeeded');
    return {
      roundTripSeconds: numberOf(pair, 'currentRoundTripTime'),
      srtpCipher: textOf(transport, 'srtpCipher'),
      protocol: textOf(this.byId(pair?.localCandidateId), 'protocol'),
    };
  }
}

/** Of the path that the media takes. */
export interface PathFigures {
  readonly roundTripSeconds: number | null;
  readonly srtpCipher: string | null;
  /** `udp` or `tcp`. */
  readonly protocol: string | null;
}

/** Bytes that went by until a moment. */
export interface ByteCount {
  readonly atMs: number;
  readonly bytes: number;
}

/** Bits per second since the count before; `null` without one or when it was reset. */
export function bitrateBps(now: ByteCount, before: ByteCount | undefined): number | null {
  const perSecond = ratePerSecond(now.bytes, before?.bytes, before ? now.atMs - before.atMs : null);
  return perSecond === null ? null : perSecond * 8;
}

/** Whole milliseconds and parts of them. */
export function toMs(seconds: number | null): number | null {
  return seconds === null ? null : seconds * 1000;
}

/** A field as a number, or `null`. */
export function numberOf(entry: StatsEntry | undefined, field: string): number | null {
  const value = entry?.[field];
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

/** A field as a text, or `null`. */
export function textOf(entry: StatsEntry | undefined, field: string): string | null {
  const value = entry?.[field];
  return typeof value === 'string' && value !== '' ? value : null;
}

/** `H264` from `video/H264`. */
export function codecName(codec: StatsEntry | undefined): string | null {
  return textOf(codec, 'mimeType')?.split('/')[1] ?? null;
}

/** How fast a counter grew, per second; `null` without a sample before or when it was reset. */
export function ratePerSecond(
  now: number | null,
  before: number | null | undefined,
  elapsedMs: number | null,
): number | null {
  if (now === null || before === null || before === undefined || elapsedMs === null || elapsedMs <= 0)
    return null;
  return now < before ? null : ((now - before) * 1000) / elapsedMs;
}
