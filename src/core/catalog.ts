// Keystone's service catalog: what it says, and the part of it that somebody wants.

/** One service. */
export interface CatalogService {
  readonly id: string;
  /** For example `compute`. */
  readonly type: string;
  readonly name: string;
  readonly endpoints: readonly CatalogEndpoint[];
}

/** One address of a service. */
export interface CatalogEndpoint {
  readonly id: string;
  /** `public`, `internal` or `admin`. */
  readonly interface: string;
  readonly regionId: string;
  readonly url: string;
}

/** Which part; an empty list: all. */
export interface CatalogFilter {
  readonly regions: readonly string[];
  readonly services: readonly string[];
}

/**
 * The catalog of a Keystone token, from the JSON text of its `catalog`. What cannot be read is left out, service by service: it is
 * information, and nothing is decided by it. Throws nothing; text that is no JSON list is an empty catalog.
 */
export function readCatalog(json: string): readonly CatalogService[] {
  return objects(parsed(json)).map((service) => ({
    id: text(service['id']),
    type: text(service['type']),
    name: text(service['name']),
    endpoints: objects(service['endpoints']).map((endpoint) => ({
      id: text(endpoint['id']),
      interface: text(endpoint['interface']),
      regionId: text(endpoint['region_id']) || text(endpoint['region']),
      url: text(endpoint['url']),
    })),
  }));
}

/** The services of the wanted types with their endpoints in the wanted regions; a service without any of those is left out. */
export function filterCatalog(catalog: readonly CatalogService[], { regions, services }: CatalogFilter): readonly CatalogService[] {
  const ofType = services.length === 0 ? catalog : catalog.filter((service) => services.includes(service.type));
  if (regions.length === 0) return ofType;
  return ofType
    .map((service) => ({ ...service, endpoints: service.endpoints.filter((endpoint) => regions.includes(endpoint.regionId)) }))
    .filter((service) => service.endpoints.length > 0);
}

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch (error) {
    if (error instanceof SyntaxError) return [];
    throw error;
  }
}

function objects(value: unknown): readonly Readonly<Record<string, unknown>>[] {
  if (!Array.isArray(value)) return [];
  return value.filter((one): one is Record<string, unknown> => typeof one === 'object' && one !== null && !Array.isArray(one));
}

function text(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
