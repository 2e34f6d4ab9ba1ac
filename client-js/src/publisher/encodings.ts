/** How many sizes of a picture are sent, and how much each may take. */

import type { VideoCodec } from './codec-preference.ts';

/** Fewest lines of a camera's picture whose quarter is still worth watching. */
const SIMULCAST_MIN_LINES = 720;

/** Whose encoders browsers run side by side; VP9 and AV1 have layers within one stream instead. */
const SIMULCAST_CODECS: readonly VideoCodec[] = ['H264', 'VP8'];

/**
 * Whether a track should be sent in three sizes where nobody said so: a camera's picture of 720 lines or more, so that
 * viewers whose network carries less have something to go down to. The letters of a shared screen are lost in a smaller
 * size, and what a page draws itself costs it enough already.
 */
export function worthSimulcast(track: MediaStreamTrack | null, codec: VideoCodec): boolean {
  if (track?.kind !== 'video' || !SIMULCAST_CODECS.includes(codec)) return false;
  const { width = 0, height = 0, deviceId = '', displaySurface } = track.getSettings();
  const isCamera = deviceId !== '' && displaySurface === undefined;
  return isCamera && Math.min(width, height) >= SIMULCAST_MIN_LINES;
}

/** One size, or three whose pixel counts are a quarter of each other's. */
export function videoEncodings(maxBitrateBps: number, simulcast: boolean): RTCRtpEncodingParameters[] {
  if (!simulcast) return [{ maxBitrate: maxBitrateBps }];
  return [
    { rid: 'q', scaleResolutionDownBy: 4, maxBitrate: Math.round(maxBitrateBps / 12) },
    { rid: 'h', scaleResolutionDownBy: 2, maxBitrate: Math.round(maxBitrateBps / 4) },
    { rid: 'f', scaleResolutionDownBy: 1, maxBitrate: maxBitrateBps },
  ];
}
