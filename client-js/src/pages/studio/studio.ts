/** The page on which people go live: binds devices, program, stage and publisher together. */

import { fillIcons, icon } from '../../icons.ts';
import { endpointUrl } from '../../name.ts';
import { canSend, type VideoCodec } from '../../publisher/codec-preference.ts';
import { type PageAddress, pageAddress } from '../address.ts';
import { copyLine } from '../copy-line.ts';
import { byId, make, setText } from '../dom.ts';
import { type DeviceKind, Devices, devicesAllowed } from './devices.ts';
import { describeMediaProblem } from './media-problem.ts';
import { MicMeter } from './mic-meter.ts';
import { OnAir } from './on-air.ts';
import { Program } from './program.ts';
import type { Source } from './scene.ts';
import { type Cover, Stage } from './stage.ts';

class Studio {
  readonly #devices = new Devices();
  readonly #program = new Program();
  readonly #stage = new Stage(() => void this.#openDevices());
  readonly #meter = new MicMeter(byId('meter'), byId('meter-hint'));
  readonly #onAir: OnAir;
  readonly #mute = byId<HTMLButtonElement>('mute');
  #cover: Cover = { kind: 'setup' };
  #muted = false;

  constructor(address: PageAddress) {
    this.#onAir = new OnAir(address, this.#stage, {
      tracks: () => [this.#program.track, this.#devices.track('audio')].filter((track) => track !== null),
      codec: () => document.querySelector<HTMLInputElement>('input[name=codec]:checked')?.value as VideoCodec,
      lock: (locked) => lockCodec(locked),
    });
    this.#program.on('track', (track) => this.#onAir.setTrack('video', track));
    this.#devices.on('track', ({ kind, track }) => this.#deviceChanged(kind, track));
    this.#devices.on('list', ({ cameras, microphones }) => {
      fillPicker(byId<HTMLSelectElement>('camera'), cameras, this.#devices.track('video'), 'No camera');
      fillPicker(
        byId<HTMLSelectElement>('microphone'),
        microphones,
        this.#devices.track('audio'),
        'No microphone',
      );
    });
    this.#bind();
    this.#render();
    void this.#begin();
  }

  async #begin(): Promise<void> {
    if (!devicesAllowed()) {
      this.#cover = { kind: 'problem', problem: describeMediaProblem(null, false) };
      this.#render();
    } else if (await this.#devices.alreadyAllowed()) {
      await this.#openDevices();
    }
  }

  async #openDevices(): Promise<void> {
    this.#cover = { kind: 'asking' };
    this.#render();
    try {
      await this.#devices.open();
      this.#cover = { kind: 'no-camera' };
    } catch (error) {
      this.#cover = { kind: 'problem', problem: describeMediaProblem(error, devicesAllowed()) };
    }
    this.#render();
  }

  #deviceChanged(kind: DeviceKind, track: MediaStreamTrack | null): void {
    if (kind === 'video') {
      this.#program.set({ camera: track });
    } else {
      if (track !== null) track.enabled = !this.#muted;
      this.#meter.listen(track);
      this.#onAir.setTrack('audio', track);
    }
    this.#render();
  }

  #bind(): void {
    for (const [id, kind] of [['camera', 'video'] as const, ['microphone', 'audio'] as const]) {
      const picker = byId<HTMLSelectElement>(id);
      picker.addEventListener('change', () => void this.#useDevice(kind, picker));
    }
    for (const input of document.querySelectorAll<HTMLInputElement>('input[name=source]')) {
      input.addEventListener('change', () => void this.#choose(input.value as Source));
    }
    // Phones have no screen to share; a choice that cannot be taken is not offered.
    byId('sources').hidden = navigator.mediaDevices?.getDisplayMedia === undefined;
    const title = byId<HTMLInputElement>('title');
    title.addEventListener('input', () => {
      this.#program.set({ title: title.value });
      this.#render();
    });
    this.#mute.addEventListener('click', () => this.#setMuted(!this.#muted));
  }

  async #useDevice(kind: DeviceKind, picker: HTMLSelectElement): Promise<void> {
    try {
      await this.#devices.use(kind, picker.value);
    } catch {
      // The one before is still in use: the picker says so again.
      picker.value = this.#devices.track(kind)?.getSettings().deviceId ?? picker.value;
    }
  }

  async #choose(source: Source): Promise<void> {
    const before = this.#program.parts.source;
    if (source !== 'camera' && this.#program.parts.screen === null && !(await this.#openScreen())) {
      return this.#checkSource(before);
    }
    this.#program.set({ source });
    if (source === 'camera') this.#closeScreen();
    this.#render();
  }

  /** `false` when the person changed their mind, or the browser cannot. */
  async #openScreen(): Promise<boolean> {
    try {
      const stream = await navigator.mediaDevices.getDisplayMedia({
        video: { frameRate: { ideal: 30 } },
        audio: false,
      });
      const track = stream.getVideoTracks()[0] ?? null;
      if (track !== null) track.contentHint = 'detail';
      track?.addEventListener('ended', () => this.#screenEnded(track));
      this.#program.set({ screen: track });
      return track !== null;
    } catch {
      return false;
    }
  }

  /** The person pressed the browser's own "Stop sharing". */
  #screenEnded(track: MediaStreamTrack): void {
    if (this.#program.parts.screen !== track) return;
    this.#program.set({ screen: null, source: 'camera' });
    this.#checkSource('camera');
    this.#render();
  }

  #closeScreen(): void {
    const { screen } = this.#program.parts;
    this.#program.set({ screen: null });
    screen?.stop();
  }

  #checkSource(source: Source): void {
    const input = document.querySelector<HTMLInputElement>(`input[name=source][value=${source}]`);
    if (input !== null) input.checked = true;
  }

  #setMuted(muted: boolean): void {
    this.#muted = muted;
    const track = this.#devices.track('audio');
    if (track !== null) track.enabled = !muted;
    this.#render();
  }

  #render(): void {
    const { track } = this.#program;
    const composed = track !== null && track !== this.#program.parts.camera;
    this.#stage.showPicture(track, track !== null && !composed);
    this.#stage.showCover(track === null ? this.#cover : null);
    const audio = this.#devices.track('audio');
    this.#onAir.setReady(track !== null || audio !== null);
    this.#mute.disabled = audio === null;
    this.#mute.ariaPressed = String(this.#muted);
    this.#mute.ariaLabel = this.#mute.title = this.#muted ? 'Unmute the microphone' : 'Mute the microphone';
    this.#mute.replaceChildren(icon(this.#muted ? 'microphoneOff' : 'microphone'));
  }
}

function fillPicker(
  picker: HTMLSelectElement,
  devices: readonly MediaDeviceInfo[],
  inUse: MediaStreamTrack | null,
  none: string,
): void {
  const options = devices.map((device, index) => {
    const option = make('option', '', device.label || `Device ${index + 1}`);
    option.value = device.deviceId;
    return option;
  });
  picker.replaceChildren(...(options.length > 0 ? options : [make('option', '', none)]));
  picker.disabled = options.length === 0;
  const current = inUse?.getSettings().deviceId;
  if (current !== undefined) picker.value = current;
}

function lockCodec(locked: boolean): void {
  for (const input of document.querySelectorAll<HTMLInputElement>('input[name=codec]')) {
    input.disabled = locked || !canSend(input.value as VideoCodec);
  }
}

/** Not every browser sends H.264: Firefox without its plug-in, Chromium without codecs. */
function chooseCodec(): void {
  if (canSend('H264')) return;
  const fallback = document.querySelector<HTMLInputElement>('input[name=codec][value=VP8]');
  if (fallback !== null) fallback.checked = true;
  setText(byId('codec-hint'), 'This browser cannot send H.264.');
}

function showLinks({ room, stream }: PageAddress): void {
  setText(byId('room-name'), room);
  document.title = `Studio ${room} · Aforo`;
  const watch = new URL(`/watch/${room}`, location.origin);
  if (stream !== 'main') watch.searchParams.set('stream', stream);
  copyLine(byId('watch-link'), 'the watch link')(watch.href);
  copyLine(byId('obs-link'), 'the WHIP address')(endpointUrl(location.origin, 'whip', room, stream));
}

const address = pageAddress(byId('main'));
if (address !== null) {
  fillIcons(document);
  chooseCodec();
  showLinks(address);
  new Studio(address);
}
