// Errors of this package. Programs match on `code`; people read the message.

/** Refusal by the service, or an answer that cannot be used. */
export class PortbookError extends Error {
  #problem;

  /**
   * @param {import('../index.d.ts').Problem} problem the service's problem document
   * @param {ErrorOptions} [options]
   */
  constructor(problem, options) {
    super(problem.detail, options);
    this.name = 'PortbookError';
    this.code = problem.code;
    this.detail = problem.detail;
    this.status = problem.status;
    this.#problem = problem;
  }

  /** The whole document; a getter, so that a printed error does not say everything twice. */
  get problem() {
    return this.#problem;
  }
}

/** No service accepts connections on any of the sockets where one is expected. */
export class NoServiceError extends PortbookError {
  /** @param {{ socket: string, error: NodeJS.ErrnoException }[]} tried */
  constructor(tried) {
    const places = tried.map(({ socket, error }) => `${socket} (${error.code})`).join(', ');
    const detail =
      `no portbook service answers on ${places}; start one with \`portbook serve\`, let systemd start it ` +
      '(`portbook service install --user`), or set PORTBOOK_SOCKET to the socket of a running one';
    super({ code: 'no_service', detail }, { cause: tried.at(-1)?.error });
    this.name = 'NoServiceError';
    this.sockets = tried.map(({ socket }) => socket);
  }
}
