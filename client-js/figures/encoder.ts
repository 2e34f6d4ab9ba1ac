/** An encoder that sends a keyframe each four seconds and hears no wish for one: FFmpeg 9 copies a clip in a loop. */

import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

/** Pictures from keyframe to keyframe, and in a second. */
export const GROUP_PICTURES = 120;
export const PICTURES_PER_SECOND = 30;

/** The FFmpeg of the Python clients' environment: Debian's own has no WHIP. */
function ffmpeg(): string {
  const python = fileURLToPath(new URL('../../target/clients/bin/python', import.meta.url));
  const question = 'import imageio_ffmpeg; print(imageio_ffmpeg.get_ffmpeg_exe())';
  return execFileSync(python, ['-c', question], { encoding: 'utf8' }).trim();
}

/** Makes a clip of a moving picture with a corner of this colour, and a tone. */
export function makeClip(file: string, corner: string): void {
  const [rate, box] = [PICTURES_PER_SECOND, `drawbox=x=0:y=0:w=iw/4:h=ih/4:color=${corner}:t=fill`];
  const sources = [`testsrc2=size=640x360:rate=${rate},${box}`, 'sine=frequency=440:sample_rate=48000'];
  const inputs = sources.flatMap((source) => ['-f', 'lavfi', '-i', source]);
  const group = ['-g', GROUP_PICTURES, '-keyint_min', GROUP_PICTURES, '-sc_threshold', 0].map(String);
  const video = [
    '-c:v',
    'libx264',
    '-profile:v',
    'baseline',
    '-pix_fmt',
    'yuv420p',
    '-b:v',
    '800k',
    ...group,
  ];
  const audio = ['-c:a', 'libopus', '-ac', '2'];
  const seconds = String((2 * GROUP_PICTURES) / rate);
  execFileSync(ffmpeg(), ['-loglevel', 'error', '-y', ...inputs, ...video, ...audio, '-t', seconds, file]);
}

/** One that publishes. */
export class Encoder {
  readonly #child: ChildProcess;
  readonly #said: string[] = [];

  /** Begins so many pictures after a keyframe, which is what joining an encoder that runs already looks like. */
  constructor(clip: string, endpoint: string, token: string, skippedPictures: number) {
    const source = ['-re', '-stream_loop', '-1', '-i', clip, '-c', 'copy'];
    const skip = skippedPictures > 0 ? ['-bsf:v', `noise=drop=lt(n\\,${skippedPictures})`] : [];
    const sink = ['-f', 'whip', '-authorization', token, endpoint];
    this.#child = spawn(ffmpeg(), ['-loglevel', 'warning', ...source, ...skip, ...sink], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child.stderr?.on('data', (text) => this.#said.push(String(text)));
  }

  /** Ends a test that waits for it if it ends by itself. */
  async failure(): Promise<never> {
    await once(this.#child, 'exit');
    throw new Error(`ffmpeg ended:\n${this.#said.join('')}`);
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const ended = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await ended;
  }
}
