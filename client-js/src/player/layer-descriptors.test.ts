import { expect, test, vi } from 'vitest';
import { wantLayerDescriptors } from './layer-descriptors.ts';

const uri = 'https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension';
const mid = { direction: 'sendrecv', uri: 'urn:ietf:params:rtp-hdrext:sdes:mid' } as const;

test('descriptors that a browser knows are asked for, and nothing else is changed', () => {
  const set = vi.fn();
  wantLayerDescriptors({
    getHeaderExtensionsToNegotiate: () => [mid, { direction: 'stopped', uri }],
    setHeaderExtensionsToNegotiate: set,
  });
  expect(set.mock.calls).toEqual([[[mid, { direction: 'recvonly', uri }]]]);
});

test('a browser that asks for them by itself, does not know them or cannot be told is left alone', () => {
  const set = vi.fn();
  for (const extensions of [[mid], [{ direction: 'recvonly' as const, uri }]]) {
    wantLayerDescriptors({
      getHeaderExtensionsToNegotiate: () => extensions,
      setHeaderExtensionsToNegotiate: set,
    });
  }
  wantLayerDescriptors({});
  expect(set).not.toHaveBeenCalled();
  wantLayerDescriptors({
    getHeaderExtensionsToNegotiate: () => [{ direction: 'stopped', uri }],
    setHeaderExtensionsToNegotiate: () => {
      throw new DOMException('this one stays', 'InvalidModificationError');
    },
  });
});
