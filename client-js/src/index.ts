/** Aforo in the browser: publish with {@link Publisher}, watch with {@link Player} or `<aforo-player>`. */

export { endpointUrl, NAME_RULE, nameProblem } from './name.ts';
export { Player, type PlayerEvents, type PlayerOptions, type PlayerState } from './player/player.ts';
export type { VideoLayer } from './player/video-layer.ts';
export { AforoPlayerElement, defineAforoPlayer } from './player-element/aforo-player.ts';
export { canSend, type VideoCodec } from './publisher/codec-preference.ts';
export {
  Publisher,
  type PublisherEvents,
  type PublisherOptions,
  type PublisherState,
} from './publisher/publisher.ts';
export type { TokenSource } from './session/bearer.ts';
export { type FailureKind, SessionFailure } from './session/failure.ts';
export type { TransportChoice } from './session/sdp.ts';
export { describeHealth, type Health, type HealthLevel } from './stats/health.ts';
export type { PlaybackSample } from './stats/playback-sample.ts';
export type { PublishSample } from './stats/publish-sample.ts';
