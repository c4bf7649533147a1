// Where things that can be made again are kept for this user.
import { homedir } from "node:os";
import path from "node:path";

/** DSC_CACHE, or dsc in XDG_CACHE_HOME or ~/.cache. */
export const cacheFolder = (): string => process.env.DSC_CACHE ?? path.join(process.env.XDG_CACHE_HOME ?? path.join(homedir(), ".cache"), "dsc");
