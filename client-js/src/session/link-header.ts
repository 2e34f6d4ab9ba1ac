/** Reads ICE servers out of `Link` headers (RFC 8288 as used by RFC 9725 §4.6). */

/** The `rel="ice-server"` links of a combined `Link` header value, in order. */
export function iceServersOf(header: string | null): RTCIceServer[] {
  if (header === null) return [];
  const servers: RTCIceServer[] = [];
  for (const link of header.matchAll(
    /<([^>]*)>((?:\s*;\s*[\w!#$%&'*+.^`|~-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,;"]+))*)/g,
  )) {
    const parameters = parametersOf(link[2] ?? '');
    const url = link[1];
    if (!url || parameters.get('rel') !== 'ice-server') continue;
    const server: RTCIceServer = { urls: url };
    const username = parameters.get('username');
    const credential = parameters.get('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    servers.push(server);
  }
  return servers;
}

function parametersOf(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const match of text.matchAll(/;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]+))/g)) {
    const value = match[2] === undefined ? (match[3] ?? '') : match[2].replace(/\\(.)/g, '$1');
    parameters.set((match[1] ?? '').toLowerCase(), value);
  }
  return parameters;
}
