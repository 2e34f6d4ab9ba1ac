/** Typed events: the only way in which a part of the SDK speaks to whoever made it. */

/** What is called with an event's payload. */
export type Listener<T> = (payload: T) => void;

/** Takes a listener off again; calling it twice does nothing. */
export type Unsubscribe = () => void;

/**
 * A small event source. `Events` maps each event's name to its payload (`void` for none).
 *
 * A listener that throws is reported to the page and does not keep the others from hearing the event: an error in
 * the interface must not stop the media.
 */
export class Emitter<Events extends object> {
  readonly #listeners = new Map<keyof Events, Set<Listener<never>>>();

  /** Calls `listener` on every later event `name`. */
  on<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): Unsubscribe {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener as Listener<never>);
    return () => listeners.delete(listener as Listener<never>);
  }

  /** Calls `listener` on the next event `name` only. */
  once<Name extends keyof Events>(name: Name, listener: Listener<Events[Name]>): Unsubscribe {
    const off = this.on(name, (payload) => {
      off();
      listener(payload);
    });
    return off;
  }

  protected emit<Name extends keyof Events>(name: Name, payload: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<Events[Name]>)(payload);
      } catch (error) {
        reportError(error);
      }
    }
  }
}
