/** How many sizes of a picture are sent, and how much each may take. */

import type { VideoCodec } from './codec-preference.ts';

/** Fewest lines of a camera's picture whose quarter is still worth watching. */
const SIMULCAST_MIN_LINES = 720;

/** Whose encoders browsers run side by side. */
const SIMULCAST_CODECS: readonly VideoCodec[] = ['H264', 'VP8'];

/** Who have sizes within one stream. */
const SCALABLE_CODECS: readonly VideoCodec[] = ['VP9', 'AV1'];

/**
 * Three sizes, each with three temporal layers. Larger pictures lean on smaller ones at keyframes only, so that a loss in a small one
 * does not spoil the others (W3C WebRTC-SVC §6).
 */
const THREE_SIZES = 'L3T3_KEY';

/**
 * Whether a track should be sent in three sizes where nobody said so: a camera's picture of 720 lines or more, so that
 * viewers whose network carries less have something to go down to. The letters of a shared screen are lost in a smaller
 * size, and what a page draws itself costs it enough already.
 */
export function worthSimulcast(track: MediaStreamTrack | null, codec: VideoCodec): boolean {
  return SIMULCAST_CODECS.includes(codec) && isLargeCamera(track);
}

/** The same for codecs with sizes within one stream: the scalability mode that it is worth; `null` for one size. */
export function worthScaling(track: MediaStreamTrack | null, codec: VideoCodec): string | null {
  return SCALABLE_CODECS.includes(codec) && isLargeCamera(track) ? THREE_SIZES : null;
}

function isLargeCamera(track: MediaStreamTrack | null): boolean {
  if (track?.kind !== 'video') return false;
  const { width = 0, height = 0, deviceId = '', displaySurface } = track.getSettings();
  const isCamera = deviceId !== '' && displaySurface === undefined;
  return isCamera && Math.min(width, height) >= SIMULCAST_MIN_LINES;
}

/** What an encoder is to make. `scalabilityMode` is of W3C's WebRTC-SVC, which not every browser knows. */
export interface Encoding extends RTCRtpEncodingParameters {
  scalabilityMode?: string;
}

/** One size, or three whose pixel counts are a quarter of each other's, or the layers of a scalability mode. */
export function videoEncodings(
  maxBitrateBps: number,
  simulcast: boolean,
  scalabilityMode: string | null,
): Encoding[] {
  if (!simulcast) {
    return [{ maxBitrate: maxBitrateBps, ...(scalabilityMode === null ? {} : { scalabilityMode }) }];
  }
  return [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: Math.round(maxBitrateBps / 12) },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: Math.round(maxBitrateBps / 4) },
    { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: maxBitrateBps },
  ];
}
