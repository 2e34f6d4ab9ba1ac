/** What a figure prints: its name, what was measured, and the bound it is held to. */

/** The value below which `share` of `values` lie (nearest rank). */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((one, other) => one - other);
  const rank = Math.min(sorted.length, Math.max(1, Math.ceil(share * sorted.length)));
  return sorted[rank - 1] ?? Number.NaN;
}

/** Prints one line; `values` are of one run each, in the unit of the figure. */
export function printFigure(name: string, unit: string, values: readonly number[], bound: number): void {
  const [p50, p95, most] = [quantile(values, 0.5), quantile(values, 0.95), quantile(values, 1)];
  const text = [p50, p95, most].map((value) => value.toFixed(value < 10 ? 1 : 0)).join(' / ');
  process.stdout.write(
    `${name}: ${text} ${unit} (p50 / p95 / most of ${values.length}), at most ${bound} ${unit}\n`,
  );
}
