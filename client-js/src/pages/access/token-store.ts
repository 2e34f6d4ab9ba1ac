/** Where a page gets its access token from: its address, or what a person gave it in this tab. */

/** What a token is for. `list` opens the list of rooms; it is tried for watching as well. */
export type TokenUse = 'publish' | 'play' | 'list';

/** The part of `sessionStorage` that is used. */
export type TokenStorage = Pick<Storage, 'getItem' | 'setItem'>;

/** What an address has after `#`, taken apart. */
export interface Fragment {
  readonly token: string | null;
  /** The fragment without the token, with its `#`; empty when nothing else was there. */
  readonly rest: string;
}

/** Takes `token=…` out of a fragment. A plus sign stays one: this is no form. */
export function splitFragment(hash: string): Fragment {
  const parts = hash.replace(/^#/, '').split('&');
  const given = parts.find((part) => part.startsWith('token='))?.slice('token='.length);
  const rest = parts.filter((part) => !part.startsWith('token=')).join('&');
  return { token: given ? decode(given) : null, rest: rest === '' ? '' : `#${rest}` };
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

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

  /**
   * Keeps the token that the address brings, now and whenever somebody enters another one, and takes it off the address
   * bar: it must not be in a screenshot or a copied link. `changed` is called for the later ones.
   */
  takeFromAddress(changed: () => void): void {
    const take = (): boolean => {
      const { token, rest } = splitFragment(location.hash);
      if (token === null) return false;
      this.keep(token);
      history.replaceState(history.state, '', location.pathname + location.search + rest);
      return true;
    };
    take();
    addEventListener('hashchange', () => take() && changed());
  }

  #read(key: string): string | null {
    return this.storage?.getItem(key) ?? null;
  }
}

function keyOf(use: TokenUse, room: string): string {
  return `aforo-token:${use}:${room}`;
}

/** `null` where the browser lets pages store nothing. */
function openStorage(): TokenStorage | null {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}
