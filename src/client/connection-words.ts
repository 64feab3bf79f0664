// Why there is no connection, in words of ours: the library passes on what OpenSSL and Node have said, or nothing.

/** What went wrong while a connection was made. */
export interface ConnectionFailure {
  readonly reason: string;
  readonly message: string;
}

const table: readonly (readonly [said: RegExp, reason: string, message: string])[] = [
  [/certificate required/, 'TLS_CERTIFICATE_REQUIRED', 'the sidecar takes nobody without a certificate, and none was given'],
  [/certificate has expired/, 'TLS_SERVER_EXPIRED', 'the certificate of the sidecar has expired'],
  [
    /self-signed certificate|unable to (?:get|verify)/,
    'TLS_UNKNOWN_AUTHORITY',
    'the certificate of the sidecar is from no authority that is trusted here',
  ],
  [/wrong version number|packet length too long/, 'TLS_NOT_SPOKEN', 'no TLS is spoken there'],
  [
    /Last error: Failed to connect/,
    'CONNECTION_REFUSED_EARLY',
    'the connection was ended before it was open: as a sidecar does that wants TLS, and one that does not take our certificate ' +
      '(expired, from another authority, not for clients)',
  ],
];

/** Out of the library's details of an UNAVAILABLE; undefined: nothing that is known here. */
export function connectionFailure(details: string): ConnectionFailure | undefined {
  const names =
    /Host: (.+?)\. is not in the cert's altnames: (.{0,500})/.exec(details) ??
    /IP: (\S+) is not in the cert's list: (.{0,500})/.exec(details);
  if (names) {
    const has = names[2]?.replace(/\. Resolution note:.*$/s, '').trim();
    return { reason: 'TLS_NAME_MISMATCH', message: `the certificate of the sidecar is not for ${names[1]}, but for ${has || 'nobody'}` };
  }
  const known = table.find(([said]) => said.test(details));
  return known && { reason: known[1], message: known[2] };
}
