// The streams of the services beside the API (health, reflection): nothing but their reader ends them, so a drain has to.

import {
  type handleServerStreamingCall,
  type Server,
  type ServerDuplexStream,
  type ServerWritableStream,
  type ServiceDefinition,
  status,
  type UntypedHandleCall,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';

type Stream = ServerWritableStream<unknown, unknown> | ServerDuplexStream<unknown, unknown>;
type AnyHandler = (...given: readonly [call: Stream, callback?: unknown]) => void;

/** Stands before a server where its neighbours are added; keeps their open streams, and ends them when asked. */
export class StreamsBeside {
  readonly #server: Server;
  readonly #open = new Set<Stream>();
  #ended = false;

  constructor(server: Server) {
    this.#server = server;
  }

  /** As the server's own. */
  addService(definition: ServiceDefinition, handlers: UntypedServiceImplementation): void {
    const kept = Object.entries(handlers).map(([method, handle]): [string, UntypedHandleCall] => [method, this.#keeping(handle)]);
    this.#server.addService(definition, Object.fromEntries(kept));
  }

  /** Ends each, after what it has been told already, with UNAVAILABLE; and at once those that still come. */
  end(): void {
    this.#ended = true;
    for (const stream of this.#open) endStream(stream);
  }

  #keeping(handle: UntypedHandleCall): UntypedHandleCall {
    const inner = handle as unknown as AnyHandler;
    const outer: AnyHandler = (...given) => {
      // Who answers once has a callback to answer by, and is no stream.
      if (given.length === 1) this.#keep(given[0]);
      inner(...given);
    };
    return outer as handleServerStreamingCall<unknown, unknown>;
  }

  #keep(stream: Stream): void {
    this.#open.add(stream);
    stream.once('close', () => this.#open.delete(stream));
    if (this.#ended) endStream(stream);
  }
}

function endStream(stream: Stream): void {
  // The library's way to end a stream with a status.
  stream.emit('error', { code: status.UNAVAILABLE, details: 'the sidecar stops' });
}
