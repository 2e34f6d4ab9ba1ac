/** Asks a person for an access token. */

import { icon } from '../../icons.ts';
import { make, setText } from '../dom.ts';
import type { TokenUse } from './token-store.ts';
import { TOKEN_WORDS, tokenProblem } from './token-words.ts';

/** Fills `host`, which is hidden until {@link ask}; `give` gets what the person enters. */
export class TokenForm {
  readonly #input = make('input', 'input');
  readonly #problem = make('p', 'hint wrong');

  constructor(
    private readonly host: HTMLElement,
    private readonly use: TokenUse,
    give: (token: string) => void,
  ) {
    const words = TOKEN_WORDS[use];
    const [id, problemId] = [`token-${use}`, `token-${use}-problem`];
    const headline = make('h2', '', words.headline);
    const label = make('label', '', 'Access token');
    label.htmlFor = id;
    Object.assign(this.#input, {
      id,
      type: 'password',
      autocomplete: 'off',
      required: true,
      spellcheck: false,
    });
    this.#input.setAttribute('aria-describedby', problemId);
    this.#problem.id = problemId;
    this.#problem.setAttribute('role', 'alert');
    const button = make('button', use === 'list' ? 'button' : 'button primary', words.action);
    button.type = 'submit';
    const form = make(
      'form',
      'tokenform',
      make('span', 'tokenmark', icon('key')),
      make('div', 'tokenwords', headline, make('p', '', words.detail)),
      make('div', 'field', label, make('div', 'tokenrow', this.#input, button), this.#problem),
    );
    form.noValidate = true;
    form.addEventListener('submit', (event) => {
      event.preventDefault();
      const token = this.#input.value.trim();
      if (token === '') return this.#complain('Enter a token first.');
      give(token);
    });
    this.#input.addEventListener('input', () => this.#complain(''));
    host.classList.add('gate');
    host.replaceChildren(form);
    host.hidden = true;
  }

  /**
   * Shows the form, with what was wrong with the token that was refused, if one was `sent`. The list of rooms is beside
   * the point of its page, so its form leaves the focus alone until somebody has used it.
   */
  ask(status: number | null, sent: boolean): void {
    this.host.hidden = false;
    this.#complain(tokenProblem(this.use, status, sent));
    if (sent || this.use !== 'list') this.#input.select();
  }

  /** Takes the form away; what was entered stays in it, to be corrected if it was wrong. */
  hide(): void {
    this.host.hidden = true;
  }

  #complain(problem: string): void {
    this.#input.setAttribute('aria-invalid', String(problem !== ''));
    setText(this.#problem, problem);
    if (problem !== '') this.#input.focus();
  }
}
