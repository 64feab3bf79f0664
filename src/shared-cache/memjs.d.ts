// What we use of memjs 1.3.2: its client, which is handed our own servers, and its reading of headers. (@types/memjs is wrong about both.)

declare module 'memjs' {
  interface Response {
    readonly header: MessageHeader;
    readonly extras: Buffer;
    readonly key: Buffer;
    readonly val: Buffer;
  }

  interface MessageHeader {
    readonly magic: number;
    readonly opcode: number;
    readonly keyLength: number;
    readonly extrasLength: number;
    readonly dataType: number;
    readonly status: number;
    readonly totalBodyLength: number;
    readonly opaque: number;
  }

  /** What the client asks of a server: both handlers, then the request, one after the other without a turn of the loop between them. */
  interface ServerLike {
    readonly host: string;
    readonly port: number;
    onResponse(seq: number, respond: (response: Response) => void): void;
    onError(seq: number, fail: (error: Error) => void): void;
    write(request: Buffer): void;
    close(): void;
  }

  interface ClientOptions {
    readonly retries?: number;
    readonly failover?: boolean;
    readonly logger?: { log(...words: unknown[]): void };
  }

  class Client {
    constructor(servers: readonly ServerLike[], options?: ClientOptions);
    /** The number of the last request: its opaque. */
    seq: number;
    get(key: string): Promise<{ readonly value: Buffer | null }>;
    set(key: string, value: Buffer, options: { readonly expires: number }): Promise<boolean>;
    add(key: string, value: Buffer, options: { readonly expires: number }): Promise<boolean>;
    delete(key: string): Promise<boolean>;
    /** The place of the key's server; not asked where there is one server. */
    getServer(key: string): number;
    /** Moves `seq` on. */
    incrSeq(): void;
    close(): void;
  }

  const Header: { fromBuffer(bytes: Buffer): MessageHeader };
}
