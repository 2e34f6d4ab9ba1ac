/** A stand-in for the browser's connection in unit tests: it negotiates by script and goes where it is told. */

/** As much of `RTCPeerConnection` as a session uses. */
export class FakeConnection extends EventTarget {
  connectionState: RTCPeerConnectionState = 'new';
  signalingState: RTCSignalingState = 'stable';
  localDescription: { sdp: string } | null = null;
  currentRemoteDescription: { sdp: string } | null = null;
  /** Whether it refuses offers that are not its own. */
  strict = false;
  closed = false;
  generation = 0;
  readonly configuration: RTCConfiguration = {};

  async createOffer(options?: RTCOfferOptions): Promise<RTCSessionDescriptionInit> {
    if (options?.iceRestart || this.generation === 0) this.generation += 1;
    const ice = `a=ice-ufrag:u${this.generation}\r\na=ice-pwd:p${this.generation}\r\n`;
    const map = 'a=rtpmap:111 opus/48000/2\r\n';
    return { type: 'offer', sdp: `v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n${ice}a=mid:0\r\n${map}` };
  }

  async setLocalDescription(description: RTCLocalSessionDescriptionInit): Promise<void> {
    if (description.type === 'rollback') {
      this.signalingState = 'stable';
      return;
    }
    if (this.strict && description.sdp?.includes('nack')) throw new TypeError('not the offer that was made');
    this.signalingState = 'have-local-offer';
    this.localDescription = { sdp: description.sdp ?? '' };
  }

  async setRemoteDescription(description: RTCSessionDescriptionInit): Promise<void> {
    this.signalingState = 'stable';
    this.currentRemoteDescription = { sdp: description.sdp ?? '' };
  }

  /** Of the one transport that all sections share. */
  readonly dtls = Object.assign(new EventTarget(), { state: 'new' });

  getTransceivers(): unknown[] {
    return [{ receiver: { transport: this.dtls } }, { receiver: { transport: this.dtls } }];
  }

  getReceivers(): unknown[] {
    return [];
  }

  /** The server says goodbye. */
  closeByServer(): void {
    this.dtls.state = 'closed';
    this.dtls.dispatchEvent(new Event('statechange'));
  }

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    Object.assign(this.configuration, configuration);
  }

  close(): void {
    this.closed = true;
  }

  /** The media path changes. */
  become(state: RTCPeerConnectionState): void {
    this.connectionState = state;
    this.dispatchEvent(new Event('connectionstatechange'));
  }

  /** Gathering found something, or with `null` is over. */
  gather(candidate: string | null): void {
    const found = candidate === null ? null : { candidate, sdpMid: '0' };
    this.dispatchEvent(Object.assign(new Event('icecandidate'), { candidate: found }));
  }
}

/** One request that a {@link FakeServer} saw. */
export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly etag: string | null;
  readonly body: string;
}

/** Answers by script, one answer per request of a method; the last one is repeated. */
export class FakeServer {
  readonly seen: SeenRequest[] = [];
  readonly #answers = new Map<string, Array<() => Response>>();

  on(method: string, ...answers: Array<() => Response>): this {
    this.#answers.set(method, answers);
    return this;
  }

  readonly fetch = (async (url: string, init: RequestInit) => {
    const method = init.method ?? 'GET';
    const headers = init.headers as Headers;
    this.seen.push({ method, url, etag: headers.get('If-Match'), body: String(init.body ?? '') });
    const answers = this.#answers.get(method) ?? [];
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    if (answer === undefined) throw new TypeError('no network');
    return answer();
  }) as unknown as typeof fetch;

  /** The requests of one method. */
  of(method: string): SeenRequest[] {
    return this.seen.filter((request) => request.method === method);
  }
}

/** What a good server answers to an offer. */
export function created(session = '1'): () => Response {
  const sdp =
    'v=0\r\nm=audio 9 X 111\r\na=ice-ufrag:s1\r\na=ice-pwd:s1\r\na=mid:0\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n';
  return () =>
    new Response(sdp, { status: 201, headers: { Location: `/sessions/${session}`, ETag: `"e${session}"` } });
}
