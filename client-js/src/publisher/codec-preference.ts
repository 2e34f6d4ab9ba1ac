/** The order in which the offer lists video codecs; the server takes the first that it knows. */

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

function h264Rank(format: string): number {
  const interleaved = /packetization-mode=1/.test(format) ? 0 : 2;
  return interleaved + (/profile-level-id=42e0/i.test(format) ? 0 : 1);
}

/** Whether the browser can send `codec` at all. */
export function canSend(codec: VideoCodec): boolean {
  const codecs = RTCRtpSender.getCapabilities?.('video')?.codecs ?? [];
  return codecs.some(({ mimeType }) => mimeType.toLowerCase() === `video/${codec.toLowerCase()}`);
}
