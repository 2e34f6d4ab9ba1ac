/** The layers of a video as WHEP's `layers` event tells them, and which of them are worth a person's choice. */

import type { LayerWish } from '../session/endpoint.ts';

/** One layer of the video, as a person may choose it. */
export interface VideoLayer {
  /** What {@link Player.selectLayer} takes: `rid/s1/t2`, each part only where it makes a difference. */
  readonly id: string;
  /** Its simulcast name; `null` without simulcast. */
  readonly rid: string | null;
  /** Highest spatial layer; `null` where there is but one. */
  readonly spatialLayerId: number | null;
  /** Highest temporal layer; `null` for all of them. */
  readonly temporalLayerId: number | null;
  /** Pixels; `null` until the server knows. */
  readonly width: number | null;
  readonly height: number | null;
  readonly bitrateBps: number;
}

/** What to tell the server to get the layer with this {@link VideoLayer.id}, whether or not it is sent at the moment. */
export function readWish(id: string): LayerWish {
  const {
    rid = '',
    spatial,
    temporal,
  } = /^(?<rid>.*?)(\/s(?<spatial>\d+))?(\/t(?<temporal>\d+))?$/s.exec(id)?.groups ?? {};
  return {
    ...(rid === '' ? {} : { rid }),
    ...(spatial === undefined ? {} : { spatialLayerId: Number(spatial) }),
    ...(temporal === undefined ? {} : { temporalLayerId: Number(temporal) }),
  };
}

/**
 * The layers that a person may choose from, best first: each size with all its temporal layers; and where there is one size only,
 * its temporal layers. Layers that are not sent are left out. `data` has those of all sections: there is one video. Layers of
 * earlier drafts have an `encodingId` and stand one object deeper.
 */
export function readLayers(data: unknown): VideoLayer[] {
  const layers = sections(data)
    .map(readEntry)
    .filter((layer) => layer !== null);
  const sizes = groupBy(layers, ({ rid, spatial }) => JSON.stringify([rid, spatial]));
  const [only] = sizes;
  const choices =
    sizes.length === 1 && only !== undefined
      ? only.map((layer) => choice(layer, null, only.length > 1 ? layer.temporal : null))
      : sizes.flatMap((size) => {
          const [best] = size.sort((a, b) => b.temporal - a.temporal);
          const several = layers.some(({ rid, spatial }) => rid === best?.rid && spatial !== best.spatial);
          return best === undefined ? [] : [choice(best, several ? best.spatial : null, null)];
        });
  // A size that is not known yet is no small one.
  const sized = choices.every(({ height }) => height !== null);
  return choices.sort(sized ? byQuality : byBitrate);
}

/** Whether the `layers` event says that no layer is sent because this viewer's network carries no picture. */
export function isSoundOnly(data: unknown): boolean {
  return sections(data).some((layer) => (layer as { reason?: unknown } | null)?.reason === 'network');
}

/** What stands in all sections. */
function sections(data: unknown): unknown[] {
  return Object.values(data as object).flatMap((section: unknown) => {
    if (Array.isArray(section)) return section;
    const { layers: inner } = (section ?? {}) as { layers?: unknown };
    return Array.isArray(inner) ? inner : [];
  });
}

/** One entry of the event. */
interface Entry {
  readonly rid: string | null;
  readonly spatial: number;
  readonly temporal: number;
  readonly width: number | null;
  readonly height: number | null;
  readonly bitrateBps: number;
}

function readEntry(value: unknown): Entry | null {
  const layer = (value ?? {}) as Record<string, unknown>;
  const rid = layer.rid ?? layer.encodingId ?? null;
  const positive = (field: unknown) => (typeof field === 'number' && field > 0 ? field : null);
  const bitrateBps = positive(layer.bitrate);
  if ((rid !== null && typeof rid !== 'string') || bitrateBps === null || layer.active === false) return null;
  const [spatial, temporal] = [positive(layer.spatialLayerId) ?? 0, positive(layer.temporalLayerId) ?? 0];
  return { rid, spatial, temporal, bitrateBps, width: positive(layer.width), height: positive(layer.height) };
}

function choice(
  { rid, width, height, bitrateBps }: Entry,
  spatialLayerId: number | null,
  temporalLayerId: number | null,
): VideoLayer {
  const id = [
    rid ?? '',
    spatialLayerId === null ? '' : `/s${spatialLayerId}`,
    temporalLayerId === null ? '' : `/t${temporalLayerId}`,
  ].join('');
  return { id, rid, spatialLayerId, temporalLayerId, width, height, bitrateBps };
}

function groupBy<Value>(values: readonly Value[], keyOf: (value: Value) => string): Value[][] {
  const groups = new Map<string, Value[]>();
  for (const value of values) groups.set(keyOf(value), [...(groups.get(keyOf(value)) ?? []), value]);
  return [...groups.values()];
}

function byBitrate(a: VideoLayer, b: VideoLayer): number {
  return b.bitrateBps - a.bitrateBps;
}

function byQuality(a: VideoLayer, b: VideoLayer): number {
  return (
    (b.height ?? 0) - (a.height ?? 0) || (b.spatialLayerId ?? 0) - (a.spatialLayerId ?? 0) || byBitrate(a, b)
  );
}
