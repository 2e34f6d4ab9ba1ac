/** The rule for room and stream names; the server holds to the same one. */

/** Longest name, in characters. */
export const NAME_MAX_LENGTH = 64;

/** The stream that an address without a stream name means. */
export const DEFAULT_STREAM = 'main';

/** The rule in words, for a person who broke it. */
export const NAME_RULE =
  '1 to 64 of the letters A–Z and a–z, digits, “_”, “-” and “.”, not starting with a dot';

/** What is wrong with `text` as a room or stream name, in words, or `null` when it is good. */
export function nameProblem(text: string): string | null {
  if (text === '') return 'The name is empty.';
  if (text.length > NAME_MAX_LENGTH)
    return `The name has ${text.length} characters, ${NAME_MAX_LENGTH} is the most.`;
  if (text.startsWith('.')) return 'The name starts with a dot.';
  const bad = [...text].find((character) => !/^[A-Za-z0-9_.-]$/.test(character));
  if (bad === undefined) return null;
  return bad.trim() === '' ? 'The name has a space in it.' : `The name has “${bad}” in it.`;
}

/** A server address with a room and stream on it: `https://host/whep/room` or `https://host/whep/room/stream`. */
export function endpointUrl(
  server: string,
  kind: 'whip' | 'whep',
  room: string,
  stream = DEFAULT_STREAM,
): string {
  const path = stream === DEFAULT_STREAM ? room : `${room}/${stream}`;
  return new URL(`/${kind}/${path}`, server).href;
}
