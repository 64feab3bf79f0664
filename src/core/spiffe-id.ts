// What a SPIFFE ID is.

/**
 * The SPIFFE ID specification, §2: a trust domain, and a path whose segments are neither empty nor dots. In its one spelling: nothing is
 * escaped, the domain is in lower case. At most 2,048 bytes, which the pattern does not say.
 */
export const spiffeIdPattern: RegExp = /^spiffe:\/\/[a-z0-9._-]{1,255}(?:\/(?!\.{1,2}(?:\/|$))[A-Za-z0-9._-]+)*$/;
