// Sets of ports: iterables as get-port takes them, ranges as the service writes them.

const MAX_PORT = 65_535;

/**
 * Ports from `from` to `to`, both included.
 *
 * @param {number} from
 * @param {number} to
 * @returns {Iterable<number>}
 */
export function portNumbers(from, to) {
  if (!Number.isInteger(from) || !Number.isInteger(to)) {
    throw new TypeError('portNumbers needs two whole numbers');
  }
  for (const port of [from, to]) {
    if (port < 1024 || port > MAX_PORT) throw new RangeError(`portNumbers: ${port} is not within 1024 to ${MAX_PORT}`);
  }
  if (from > to) throw new RangeError(`portNumbers: ${from}-${to} is reversed: write ${to}, ${from}`);
  return count(from, to);
}

/**
 * @param {number} from
 * @param {number} to
 */
function* count(from, to) {
  for (let port = from; port <= to; port++) yield port;
}

/**
 * Yields preferred ports, checked; a 0 among them means any port and ends the list.
 *
 * @param {number | Iterable<number> | undefined} port
 * @param {Set<number>} exclude
 */
export function* preferredPorts(port, exclude) {
  const ports = port ?? 0;
  for (const wanted of typeof ports === 'number' ? [ports] : ports) {
    if (wanted === 0) return;
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > MAX_PORT) {
      throw new RangeError(`port: ${wanted} is not a whole number from 0 to ${MAX_PORT}`);
    }
    if (!exclude.has(wanted)) yield wanted;
  }
}

/**
 * The ports to leave out, checked.
 *
 * @param {Iterable<number> | undefined} exclude
 * @returns {Set<number>}
 */
export function excludedPorts(exclude) {
  exclude ??= [];
  if (typeof exclude[Symbol.iterator] !== 'function') throw new TypeError('exclude must be an iterable of ports');
  const ports = new Set(exclude);
  for (const port of ports) {
    if (!Number.isSafeInteger(port)) throw new TypeError(`exclude: ${String(port)} is not a whole number`);
  }
  return ports;
}

/**
 * Ranges such as `20000-29999,31000` without the excluded ports; empty if none is left.
 *
 * @param {string} ranges
 * @param {Set<number>} exclude
 */
export function without(ranges, exclude) {
  const holes = [...exclude].sort((a, b) => a - b);
  const rest = [];
  for (const range of ranges.split(',')) {
    const [first, last = first] = range.split('-').map(Number);
    let from = first;
    for (const hole of holes) {
      if (hole < from || hole > last) continue;
      if (hole > from) rest.push([from, hole - 1]);
      from = hole + 1;
    }
    if (from <= last) rest.push([from, last]);
  }
  return rest.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(',');
}
