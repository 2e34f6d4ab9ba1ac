/** Lets a viewer receive the descriptors by which it tells the layers of a scalable stream apart. */

const DEPENDENCY_DESCRIPTOR =
  'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';

interface HeaderExtension {
  direction: RTCRtpTransceiverDirection | 'stopped';
  readonly uri: string;
}

/** As much of the WebRTC extensions specification (§5.3) as is used. */
export interface ExtensionNegotiation {
  getHeaderExtensionsToNegotiate?(): HeaderExtension[];
  setHeaderExtensionsToNegotiate?(extensions: HeaderExtension[]): void;
}

/**
 * Puts dependency descriptors into the offer. Chromium knows them but offers to receive none by itself, and without them
 * cannot decode AV1 of more than one size. A browser that cannot be told so goes on as it was.
 */
export function wantLayerDescriptors(transceiver: ExtensionNegotiation): void {
  const extensions = transceiver.getHeaderExtensionsToNegotiate?.() ?? [];
  const descriptor = extensions.find(({ uri }) => uri === DEPENDENCY_DESCRIPTOR);
  if (descriptor === undefined || descriptor.direction !== 'stopped') return;
  descriptor.direction = 'recvonly';
  try {
    transceiver.setHeaderExtensionsToNegotiate?.(extensions);
  } catch {
    // The specification leaves it to the browser which extensions may be changed.
  }
}
