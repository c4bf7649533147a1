// Where the reader is: #panel/name/of/it?key=value. Everything that can be chosen is in it, so that a place can be sent and gone back to.

export interface Route {
  panel: string;
  /** What follows the panel, slashes included. */
  name: string;
  query: URLSearchParams;
}

export function parseRoute(hash: string): Route {
  const [path, query = ""] = hash.replace(/^#/, "").split("?", 2);
  const at = path.indexOf("/");
  return {
    panel: at < 0 ? path : path.slice(0, at),
    name:
      at < 0
        ? ""
        : path
            .slice(at + 1)
            .split("/")
            .map(decodeURIComponent)
            .join("/"),
    query: new URLSearchParams(query),
  };
}

/** The address of a place; what is undefined or empty is left out. */
export function href(panel: string, name = "", query: Record<string, string | number | undefined> = {}): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== "") q.set(k, String(v));
  const path = name ? `/${name.split("/").map(encodeURIComponent).join("/")}` : "";
  return `#${panel}${path}${q.size ? `?${q}` : ""}`;
}

/** Goes there. */
export function go(panel: string, name = "", query: Record<string, string | number | undefined> = {}): void {
  location.hash = href(panel, name, query);
}

/** The same place with other choices. */
export function goWith(r: Route, change: Record<string, string | number | undefined>): void {
  go(r.panel, r.name, { ...Object.fromEntries(r.query), ...change });
}
