/** Turns drawn canvases into a video track. */

/** Not in TypeScript's DOM library: Chromium's way to make a track out of frames. */
declare class MediaStreamTrackGenerator extends MediaStreamTrack {
  constructor(init: { kind: 'video' });
  readonly writable: WritableStream<VideoFrame>;
}

/** Takes a picture each time {@link push} is called. */
export interface FrameSink {
  readonly track: MediaStreamTrack;
  push(): void;
  stop(): void;
}

/** The best sink that the browser has for `canvas`. */
export function frameSink(canvas: HTMLCanvasElement, framesPerSecond: number): FrameSink {
  return 'MediaStreamTrackGenerator' in window ? generatorSink(canvas) : captureSink(canvas, framesPerSecond);
}

/** Goes on in a hidden tab, which matters to whoever shares another tab or window. */
function generatorSink(canvas: HTMLCanvasElement): FrameSink {
  const track = new MediaStreamTrackGenerator({ kind: 'video' });
  const writer = track.writable.getWriter();
  const stop = () => track.stop();
  return {
    track,
    push() {
      // A full queue means that nobody takes the frames; a dropped one is better than a late one.
      if ((writer.desiredSize ?? 0) <= 0) return;
      const frame = new VideoFrame(canvas, { timestamp: Math.round(performance.now() * 1000) });
      writer.write(frame).catch(stop);
    },
    stop,
  };
}

/** Stands still in a hidden tab, but every browser has it. */
function captureSink(canvas: HTMLCanvasElement, framesPerSecond: number): FrameSink {
  const track = canvas.captureStream(framesPerSecond).getVideoTracks()[0];
  if (track === undefined) throw new Error('this browser cannot compose pictures');
  return { track, push: () => undefined, stop: () => track.stop() };
}
