/** The camera and the microphone: which there are, and the tracks of those in use. */

import { Emitter } from '../../emitter.ts';
import { isMissingDevice } from './media-problem.ts';

/** The two kinds of device, by the kind of track that they make. */
export type DeviceKind = 'video' | 'audio';

/** What devices tell. */
export interface DevicesEvents {
  /** The track in use changed; `null` when there is none. The one before it has been stopped. */
  track: { readonly kind: DeviceKind; readonly track: MediaStreamTrack | null };
  /** Something was plugged in or out, or names became known. */
  list: { readonly cameras: readonly MediaDeviceInfo[]; readonly microphones: readonly MediaDeviceInfo[] };
}

/** 720p is what the default bitrate carries well; a camera without it gives its nearest. */
const VIDEO_WISH: MediaTrackConstraints = {
  width: { ideal: 1280 },
  height: { ideal: 720 },
  frameRate: { ideal: 30 },
};

/** Whether the browser lets this page have devices at all. */
export function devicesAllowed(): boolean {
  return window.isSecureContext && navigator.mediaDevices?.getUserMedia !== undefined;
}

/** Nothing is asked for until {@link open}. */
export class Devices extends Emitter<DevicesEvents> {
  readonly #tracks: Record<DeviceKind, MediaStreamTrack | null> = { video: null, audio: null };

  constructor() {
    super();
    navigator.mediaDevices?.addEventListener('devicechange', () => void this.#list());
  }

  /** The track in use. */
  track(kind: DeviceKind): MediaStreamTrack | null {
    return this.#tracks[kind];
  }

  /** Whether both were allowed on an earlier visit, so that asking shows no prompt. */
  async alreadyAllowed(): Promise<boolean> {
    try {
      const names = ['camera', 'microphone'] as PermissionName[];
      const answers = await Promise.all(names.map((name) => navigator.permissions.query({ name })));
      return answers.every((answer) => answer.state === 'granted');
    } catch {
      return false;
    }
  }

  /** Asks for both, or for the one that there is. Throws what the browser says when there is neither. */
  async open(): Promise<void> {
    try {
      this.#adopt(await navigator.mediaDevices.getUserMedia({ video: VIDEO_WISH, audio: true }));
    } catch (error) {
      if (!isMissingDevice(error)) throw error;
      this.#adopt(await this.#openEither(error));
    }
    await this.#list();
  }

  /** Uses another device. Throws what the browser says; the one before stays in use then. */
  async use(kind: DeviceKind, deviceId: string): Promise<void> {
    const wish = { deviceId: { exact: deviceId } };
    const constraints = kind === 'video' ? { video: { ...VIDEO_WISH, ...wish } } : { audio: wish };
    this.#adopt(await navigator.mediaDevices.getUserMedia(constraints));
  }

  async #openEither(error: unknown): Promise<MediaStream> {
    for (const constraints of [{ audio: true }, { video: VIDEO_WISH }]) {
      try {
        return await navigator.mediaDevices.getUserMedia(constraints);
      } catch (other) {
        if (!isMissingDevice(other)) throw other;
      }
    }
    throw error;
  }

  #adopt(stream: MediaStream): void {
    for (const track of stream.getTracks()) this.#set(track.kind as DeviceKind, track);
  }

  #set(kind: DeviceKind, track: MediaStreamTrack | null): void {
    const before = this.#tracks[kind];
    this.#tracks[kind] = track;
    track?.addEventListener('ended', () => {
      // Pulled out, or taken back by the person; a stop of our own fires no event.
      if (this.#tracks[kind] === track) this.#set(kind, null);
    });
    this.emit('track', { kind, track });
    before?.stop();
  }

  async #list(): Promise<void> {
    const all = await navigator.mediaDevices.enumerateDevices();
    this.emit('list', {
      cameras: all.filter(({ kind }) => kind === 'videoinput'),
      microphones: all.filter(({ kind }) => kind === 'audioinput'),
    });
  }
}
