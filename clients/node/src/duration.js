// Lengths of time as the service reads them: `30s`, `1h30m`, or a number of seconds.

/** @type {Record<string, number>} */
const UNIT_MS = { d: 86_400_000, h: 3_600_000, m: 60_000, s: 1000 };

/**
 * Milliseconds of a length of time; 0 for none, and for text that the service will refuse.
 *
 * @param {string | number | null | undefined} time
 */
export function duration(time) {
  if (typeof time === 'number') return time * 1000;
  const parts = time?.matchAll(/(\d+)([dhms])/g) ?? [];
  return [...parts].reduce((sum, [, count, unit]) => sum + Number(count) * UNIT_MS[unit], 0);
}
