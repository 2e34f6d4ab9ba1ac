/** Reads `Link` headers (RFC 8288): ICE servers (RFC 9725 §4.6) and extensions of WHEP. */

/** One link of a combined header. */
interface Link {
  readonly url: string;
  readonly parameters: ReadonlyMap<string, string>;
}

/** The `rel="ice-server"` links of a combined `Link` header value, in order. */
export function iceServersOf(header: string | null): RTCIceServer[] {
  const links = linksOf(header).filter(({ parameters }) => parameters.get('rel') === 'ice-server');
  return links.map(({ url, parameters }) => {
    const server: RTCIceServer = { urls: url };
    const username = parameters.get('username');
    const credential = parameters.get('credential');
    if (username !== undefined) server.username = username;
    if (credential !== undefined) server.credential = credential;
    return server;
  });
}

/** The address of the first link with this relation, or `null`. */
export function linkTo(header: string | null, relation: string): string | null {
  return linksOf(header).find(({ parameters }) => parameters.get('rel') === relation)?.url ?? null;
}

function linksOf(header: string | null): Link[] {
  if (header === null) return [];
  const found = header.matchAll(
    /<([^>]*)>((?:\s*;\s*[\w!#$%&'*+.^`|~-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s,;"]+))*)/g,
  );
  const links = [...found].map((link) => ({ url: link[1] ?? '', parameters: parametersOf(link[2] ?? '') }));
  return links.filter(({ url }) => url !== '');
}

function parametersOf(text: string): Map<string, string> {
  const parameters = new Map<string, string>();
  for (const match of text.matchAll(/;\s*([\w!#$%&'*+.^`|~-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,;"]+))/g)) {
    const value = match[2] === undefined ? (match[3] ?? '') : match[2].replace(/\\(.)/g, '$1');
    parameters.set((match[1] ?? '').toLowerCase(), value);
  }
  return parameters;
}
