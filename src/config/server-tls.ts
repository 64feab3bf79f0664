// Trust in a server, and who we are there: how it is written, and what that means.

import type * as z from 'zod';
import { type Files, mapping, path, text } from './leaves.ts';
import type { ServerTlsConfig } from './types.ts';

type Optional = z.ZodDefault<z.ZodNullable<z.ZodType<string>>>;

/** Its settings, all of them optional. */
export function serverTls(): z.ZodObject<
  { readonly ca_file: Optional; readonly server_name: Optional; readonly cert_file: Optional; readonly key_file: Optional },
  z.core.$strict
> {
  const optional = (it: z.ZodType<string>): Optional => it.nullable().default(null);
  return mapping({
    ca_file: optional(path()),
    server_name: optional(text(253)),
    cert_file: optional(path()),
    key_file: optional(path()),
  });
}

/** The same where the server knows us by our certificate. */
export function mutualTls(): z.ZodObject<
  {
    readonly ca_file: Optional;
    readonly server_name: Optional;
    readonly cert_file: z.ZodType<string>;
    readonly key_file: z.ZodType<string>;
  },
  z.core.$strict
> {
  return serverTls().extend({ cert_file: path(), key_file: path() });
}

/** What they mean. */
export function serverTlsOf(it: z.output<ReturnType<typeof serverTls>>, files: Files): ServerTlsConfig {
  const secret = (file: string | null) => (file === null ? undefined : files.secret(file));
  return {
    caFile: secret(it.ca_file),
    serverName: it.server_name ?? undefined,
    certFile: secret(it.cert_file),
    keyFile: secret(it.key_file),
  };
}
