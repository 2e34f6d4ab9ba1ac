/** Finds the parts of a page that its HTML promises, and makes new ones. */

/** The element with `id`; a page without it is a build mistake, which should be loud. */
export function byId<T extends Element = HTMLElement>(id: string): T {
  const found = document.getElementById(id);
  if (found === null) throw new Error(`this page has no element with the id ${id}`);
  return found as unknown as T;
}

/** A new element with a class and content. Text is always text, never markup. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className = '',
  ...children: Array<Node | string>
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  if (className !== '') made.className = className;
  made.append(...children);
  return made;
}

/** Sets a text only when it differs, so that screen readers and selections are left alone. */
export function setText(target: Element, text: string): void {
  if (target.textContent !== text) target.textContent = text;
}
