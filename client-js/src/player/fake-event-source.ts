/** A stand-in for the browser's `EventSource` in unit tests: says what it is told to. */
export class FakeEventSource extends EventTarget {
  readyState = 0;
  closed = false;

  constructor(readonly url: string) {
    super();
  }

  open(): void {
    this.readyState = 1;
    this.dispatchEvent(new Event('open'));
  }

  /** The connection breaks; `2` is for good. */
  fail(readyState: 0 | 2): void {
    this.readyState = readyState;
    this.dispatchEvent(new Event('error'));
  }

  say(name: string, data: string): void {
    this.dispatchEvent(Object.assign(new Event(name), { data }));
  }

  close(): void {
    this.readyState = 2;
    this.closed = true;
  }
}
