import type { ListenOptions as NetListenOptions, Server } from 'node:net';

/** A length of time: `'30s'`, `'1h30m'`, or a number of seconds. */
export type Duration = string | number;

/** State of a lease; the last four have ended it. */
export type LeaseState =
  | 'reserved'
  | 'handed'
  | 'active'
  | 'degraded'
  | 'lost'
  | 'released'
  | 'expired'
  | 'unclaimed'
  | 'owner_gone';

/** A process that uses a port. Fields beyond these are left out if you may not see them. */
export interface Owner {
  pid: number;
  started_at: string;
  uid: number;
  command: string;
  executable?: string;
  working_directory?: string;
  unit?: string;
  container?: string;
}

/** A process on a port that does not own its lease. */
export interface Outsider {
  pid?: number | null;
  uid?: number | null;
  command?: string | null;
  state: string;
  addresses: string[];
}

/** Why another port was granted than the one that was wanted. */
export interface Moved {
  from: number;
  to: number;
  reason: string;
  /** The program, lease or rule behind it, in words. */
  by?: string | null;
  since?: string | null;
}

/** One port, granted to one user, from the grant until it ends. */
export interface Lease {
  id: string;
  /** Id of the allocation that granted it; `portbook explain` tells more. */
  allocation: string;
  name: string | null;
  pool: string;
  protocol: 'tcp' | 'udp';
  port: number;
  /** Host that a client on this machine should use. */
  host: string;
  url: string;
  /** Addresses that the port is held on, such as `0.0.0.0:3000`. */
  addresses: string[];
  interfaces: string[];
  /** What keeps the port: portbook's socket, the owner's own, or the record alone. */
  guard: 'hold' | 'owner' | 'none';
  state: LeaseState;
  handover: 'gate' | 'fd' | 'release' | 'bind';
  uid: number;
  owner: Owner | null;
  granted_at: string;
  expires_at: string | null;
  ended_at?: string | null;
  idle_since?: string | null;
  directory?: string | null;
  labels?: Record<string, string>;
  moved?: Moved | null;
  outsiders?: Outsider[];
  /** Advice on a program that does not do with the port what the lease is for. */
  hint?: { kind: string; says: string; times: number } | null;
}

/** Answer to a request for ports. */
export interface Allocation {
  allocation: string;
  /** `false` for a name that has a living lease already. */
  created: boolean;
  /** Number of ports that were tried. */
  attempt_count: number;
  leases: Lease[];
  moved?: Moved | null;
  skipped?: { ports: string; reason: string; by?: string | null; since?: string | null }[];
  notes?: string[];
}

/** Request for ports; every field is optional. The fields are those of `POST /api/v1/leases`. */
export interface LeaseRequest {
  name?: string;
  names?: string[];
  instance?: string;
  scope?: 'user' | 'dir';
  /** Absolute path of the folder that a name of scope `dir` belongs to. */
  directory?: string;
  pool?: string;
  /** Exactly this port, or a refusal. */
  port?: number;
  /** This port if it is free, else the next one above it, else one of the pool. */
  prefer?: number;
  /** Number of ports above the preferred one to try before the pool. */
  prefer_span?: number;
  ranges?: string | number | (string | number)[];
  count?: number;
  /** Number of ports in a row. */
  block?: number;
  protocol?: 'tcp' | 'udp' | 'both';
  /** Where to hold the port: `any`, `loopback`, `eth0`, an address, a network. */
  interfaces?: string[];
  strategy?: 'learned' | 'ordered' | 'random';
  handover?: 'gate' | 'fd' | 'release' | 'bind';
  max_attempts?: number;
  /** Limit on the search. */
  timeout?: Duration;
  /** Limit on the wait for a port if none is left. */
  wait?: Duration;
  claim_within?: Duration;
  ttl?: Duration;
  /** Refuse, rather than move, a name whose port is taken. */
  strict?: boolean;
  /** Keep the port for its name until its program asks for it; such a lease has no owner. */
  reserve?: boolean;
  /** Owner; this process if left out, and with `null` the first process that listens. */
  owner_pid?: number | null;
  labels?: Record<string, string>;
  dry_run?: boolean;
}

/** Filter of a list of leases. */
export interface LeaseFilter {
  name?: string;
  pool?: string;
  state?: LeaseState;
  /** `KEY=VALUE`. */
  label?: string;
}

/** One port: its leases, the processes on it, its past. */
export interface PortReport {
  protocol: 'tcp' | 'udp';
  port: number;
  leases: Lease[];
  occupants: (Outsider & { executable?: string | null; user?: string | null; unit?: string | null; relation: string })[];
  attempts: unknown[];
  sightings: unknown[];
  record?: unknown;
  exclusion?: unknown;
}

/** Problem document of the service (RFC 9457). */
export interface Problem {
  code: string;
  detail: string;
  title?: string;
  status?: number;
  /** Path of the page in the console that explains the code. */
  type?: string;
  /** What was tried, and who was in the way. */
  attempts?: unknown[];
}

/**
 * Refusal by the service, with the code of its problem document. Codes of this package itself:
 * `timed_out` (no answer), `invalid_answer` (not portbook's), `untrusted` (another user's socket).
 */
export class PortbookError extends Error {
  constructor(problem: Problem, options?: { cause?: unknown });
  /** Word to match on, such as `port_in_use`. */
  readonly code: string;
  /** What went wrong, with the way out if there is one; the message is the same. */
  readonly detail: string;
  /** HTTP status; `undefined` if there was no answer. */
  readonly status: number | undefined;
  readonly problem: Problem;
}

/** No service accepts connections. `code` is `no_service`; the message says how to start one. */
export class NoServiceError extends PortbookError {
  constructor(tried: { socket: string; error: NodeJS.ErrnoException }[]);
  /** Sockets that were tried. */
  readonly sockets: string[];
}

/** Options of a client. */
export interface ClientOptions {
  /** Socket of the service; if left out it is found as the portbook command finds it. */
  socket?: string;
  /** Limit on the wait for an answer, in milliseconds; 30,000 if left out. */
  timeout?: number;
}

/** Client of the service over its Unix socket. */
export class Client {
  constructor(options?: ClientOptions);
  /** Leases ports. The owner is this process unless the request says otherwise. */
  lease(request?: LeaseRequest): Promise<Allocation>;
  /**
   * Ends a lease. With `remember` its name gets the same port next time if it is free then. Resolves
   * with `false` if there is no such lease any more.
   */
  release(lease: string | { id: string }, options?: { remember?: boolean }): Promise<boolean>;
  /** Lists leases, newest first. */
  leases(filter?: LeaseFilter): Promise<Lease[]>;
  /** Tells who is on a port. */
  who(port: number, options?: { protocol?: 'tcp' | 'udp' }): Promise<PortReport>;
  /**
   * Sends any request of the API; the path is below `/api/v1`. It is sent again if the connection
   * breaks before the answer, so it must be safe to repeat.
   */
  request(method: string, path: string, body?: object): Promise<any>;
}

/** Options of `getPort`: those of get-port 7, and two more. Options of `net` beyond these have no effect. */
export type GetPortOptions = {
  /** Preferred port, or several in the order of preference. If all are taken it is any other. */
  readonly port?: number | Iterable<number>;
  /** Ports that are not wanted. */
  readonly exclude?: Iterable<number>;
  /** Without effect: every port stays leased until the process ends or it is given back. */
  readonly reserve?: boolean;
  /** Address or name that the server will listen on; every interface if left out. */
  readonly host?: string;
  /** Whether the server will listen on IPv6 alone. */
  readonly ipv6Only?: boolean;
  /** Whether a number that nothing holds will do if no service runs; NODE_PORTBOOK_FALLBACK=1 is the same. */
  readonly fallback?: boolean;
  /** Client to ask with. */
  readonly client?: Client;
} & Omit<NetListenOptions, 'port'>;

/** Leases a port for this process and resolves with its number. */
export function getPort(options?: GetPortOptions): Promise<number>;
export default getPort;

/** Ports from `from` to `to`, both included; each must be within 1024 to 65535. */
export function portNumbers(from: number, to: number): Iterable<number>;

/** Gives back a port of `getPort`. Resolves with `false` if it is none, or was given back already. */
export function releasePort(port: number): Promise<boolean>;

/** Gives back all ports of `getPort`; a later `getPort` waits until that is done. It never rejects. */
export function clearLockedPorts(): Promise<void>;

/** Options of `listen`: those of a request for one port, and where to listen. */
export type ListenOptions = Omit<LeaseRequest, 'names' | 'count' | 'block' | 'reserve' | 'dry_run' | 'owner_pid'> & {
  /** Address or name to listen on; that of the lease if left out, which is 127.0.0.1 as a rule. */
  host?: string;
  /** Listen on IPv6 alone. */
  ipv6Only?: boolean;
  /** Scheme of the URL; if left out `http`, `https` or `tcp`, by the class of the server. */
  scheme?: string;
  /** Client to ask with. */
  client?: Client;
};

/** A server on a leased port. */
export interface Listening {
  port: number;
  /** Where a client on this machine finds the server. */
  url: string;
  /** The lease as it was granted. */
  lease: Lease;
  /**
   * Closes the server and gives the port back. It waits for open requests; with `force` it ends their
   * connections (HTTP servers only).
   */
  close(options?: { force?: boolean }): Promise<void>;
}

/** Leases a port and makes the server listen on it. Once the server is closed, the port is given back. */
export function listen(server: Server, options?: ListenOptions): Promise<Listening>;
