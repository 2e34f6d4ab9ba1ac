import { expect, test } from 'vitest';
import { noticeFor } from './notice.ts';

const fresh = { shown: false, everShown: false, pictureless: false, failure: null };

test('a moving picture speaks for itself', () => {
  expect(noticeFor({ ...fresh, state: 'playing', shown: true, everShown: true })).toBeNull();
  expect(noticeFor({ ...fresh, state: 'playing' })?.mood).toBe('busy');
  expect(noticeFor({ ...fresh, state: 'playing', pictureless: true })?.headline).toContain('No picture');
});

test('a picture that the network does not carry is missed aloud', () => {
  const notice = noticeFor({ ...fresh, state: 'playing', shown: true, everShown: true, soundOnly: true });
  expect(notice).toMatchObject({ headline: 'Sound only', mood: 'calm' });
});

test('waiting before the first picture and after the last are different things', () => {
  expect(noticeFor({ ...fresh, state: 'waiting' })?.headline).toBe('Not live yet');
  expect(noticeFor({ ...fresh, state: 'waiting', everShown: true })?.headline).toBe('Off air for now');
});

test('a final failure says why as a sentence', () => {
  const refused = { kind: 'refused' as const, message: 'two video tracks are one too many' };
  const notice = noticeFor({ ...fresh, state: 'failed', failure: refused });
  expect(notice).toMatchObject({ mood: 'error', detail: 'Two video tracks are one too many.' });
  const codec = noticeFor({ ...fresh, state: 'failed', failure: { kind: 'no-common-codec', message: '' } });
  expect(codec?.headline).toContain('browser');
});
