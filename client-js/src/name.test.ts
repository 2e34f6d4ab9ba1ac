import { expect, test } from 'vitest';
import { endpointUrl, NAME_MAX_LENGTH, nameProblem } from './name.ts';

test.each(['a', 'main', 'A-Z_0.9', '-', '_', 'x'.repeat(NAME_MAX_LENGTH), 'a..b'])('%s is a name', (text) => {
  expect(nameProblem(text)).toBeNull();
});

test.each([
  ['', 'empty'],
  ['.hidden', 'dot'],
  ['x'.repeat(NAME_MAX_LENGTH + 1), '65 characters'],
  ['two words', 'space'],
  ['a/b', '“/”'],
  ['señal', '“ñ”'],
  ['😀', '“😀”'],
])('%j is not a name', (text, reason) => {
  expect(nameProblem(text)).toContain(reason);
});

test('the default stream is not part of an address', () => {
  expect(endpointUrl('https://host/any/page', 'whip', 'room')).toBe('https://host/whip/room');
  expect(endpointUrl('https://host', 'whep', 'room', 'drone')).toBe('https://host/whep/room/drone');
});
