/** What a page's own connections are encrypted with: studios show it to nobody, so their connections are kept and asked. */

/** Names that browsers have for what we want of them. */
export const AES_GCM = /^(SRTP_)?AEAD_AES_(128|256)_GCM$/;

interface Kept {
  keptConnections?: RTCPeerConnection[];
}

/** Keeps each connection that the page makes from now on. Runs in the page, before its own scripts. */
export function keepConnections(): void {
  const native = window.RTCPeerConnection;
  const kept: RTCPeerConnection[] = [];
  Object.assign(window, { keptConnections: kept } satisfies Kept);
  window.RTCPeerConnection = class extends native {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      kept.push(this);
    }
  };
}

/** The SRTP cipher of the page's newest connection, which is up; `null` where the browser does not say. Runs in the page. */
export async function newestCipher(): Promise<string | null> {
  const connection = (window as Kept).keptConnections?.at(-1);
  const report = (await connection?.getStats()) as
    | Map<string, { type: string; srtpCipher?: string }>
    | undefined;
  const transport = [...(report?.values() ?? [])].find((entry) => entry.type === 'transport');
  return transport?.srtpCipher ?? null;
}
