/**
 * Where a page gets its access token from: what a person gave it in this tab. Never from its address, which people pass on
 * and browsers remember.
 */

/** What a token is for. `list` opens the list of rooms; it is tried for watching as well. */
export type TokenUse = 'publish' | 'play' | 'list';

/** The part of `sessionStorage` that is used. */
export type TokenStorage = Pick<Storage, 'getItem' | 'setItem'>;

/** The token for one use in one room, kept for as long as the tab is open. */
export class TokenStore {
  #given: string | null = null;

  constructor(
    private readonly use: TokenUse,
    private readonly room: string,
    private readonly storage: TokenStorage | null = openStorage(),
  ) {}

  /** The token to send, or `null` to send none. */
  get token(): string | null {
    const listed = this.use === 'play' ? this.#read(keyOf('list', '')) : null;
    return this.#given ?? this.#read(keyOf(this.use, this.room)) ?? listed;
  }

  /** Sends `token` from now on. */
  keep(token: string): void {
    this.#given = token;
    try {
      this.storage?.setItem(keyOf(this.use, this.room), token);
    } catch {
      // A browser that stores nothing asks again after a reload.
    }
  }

  #read(key: string): string | null {
    return this.storage?.getItem(key) ?? null;
  }
}

function keyOf(use: TokenUse, room: string): string {
  return `aforo-token:${use}:${room}`;
}

/** `null` where the browser lets pages store nothing. */
export function openStorage(): Storage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
