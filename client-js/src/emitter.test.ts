import { expect, test, vi } from 'vitest';
import { Emitter } from './emitter.ts';

class Bell extends Emitter<{ ring: number }> {
  ring(times: number): void {
    this.emit('ring', times);
  }
}

test('tells every listener until it is taken off', () => {
  const bell = new Bell();
  const heard: string[] = [];
  const off = bell.on('ring', (times) => heard.push(`a${times}`));
  bell.on('ring', (times) => heard.push(`b${times}`));
  bell.ring(1);
  off();
  off();
  bell.ring(2);
  expect(heard).toEqual(['a1', 'b1', 'b2']);
});

test('once hears one event', () => {
  const bell = new Bell();
  const listener = vi.fn();
  bell.once('ring', listener);
  bell.ring(1);
  bell.ring(2);
  expect(listener.mock.calls).toEqual([[1]]);
});

test('a listener that throws is reported and keeps nobody from hearing', () => {
  const report = vi.fn();
  vi.stubGlobal('reportError', report);
  const bell = new Bell();
  const heard = vi.fn();
  bell.on('ring', () => {
    throw new Error('broken interface');
  });
  bell.on('ring', heard);
  bell.ring(3);
  expect(heard).toHaveBeenCalledWith(3);
  expect(report).toHaveBeenCalledOnce();
  vi.unstubAllGlobals();
});
