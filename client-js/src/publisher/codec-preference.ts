/** The order in which the offer lists codecs; the server takes the first that it knows, and what belongs to it. */

/** Video codecs that the server forwards. */
export type VideoCodec = 'H264' | 'VP8' | 'VP9' | 'AV1' | 'H265';

/** What `RTCRtpSender.getCapabilities` lists. */
export type CodecEntry = Pick<RTCRtpCodec, 'mimeType' | 'sdpFmtpLine'>;

/**
 * `codecs` with `preferred` first, and of H264 the profile that every viewer decodes (constrained baseline,
 * packetization mode 1) before the others. The rest, retransmission formats included, keeps its order.
 */
export function orderCodecs<Codec extends CodecEntry>(
  codecs: readonly Codec[],
  preferred: VideoCodec,
): Codec[] {
  const rank = (codec: Codec) => {
    if (codec.mimeType.toLowerCase() !== `video/${preferred.toLowerCase()}`) return 9;
    return preferred === 'H264' ? h264Rank(codec.sdpFmtpLine ?? '') : 0;
  };
  return [...codecs].sort((a, b) => rank(a) - rank(b));
}

/**
 * `codecs` with redundant sound (RFC 2198) first, which makes Chromium send each frame twice; `null` for a browser that
 * does not know it.
 */
export function redundantFirst<Codec extends CodecEntry>(codecs: readonly Codec[]): Codec[] | null {
  const isRed = ({ mimeType }: Codec) => mimeType.toLowerCase() === 'audio/red';
  const red = codecs.filter(isRed);
  return red.length === 0 ? null : [...red, ...codecs.filter((codec) => !isRed(codec))];
}

function h264Rank(format: string): number {
  const interleaved = /packetization-mode=1/.test(format) ? 0 : 2;
  return interleaved + (/profile-level-id=42e0/i.test(format) ? 0 : 1);
}

/** Whether the browser can send `codec` at all. */
export function canSend(codec: VideoCodec): boolean {
  const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  return codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
}
