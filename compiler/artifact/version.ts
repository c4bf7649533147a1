/** The compiler's version: that of the whole package. */
export { version } from "../../runtime/version.ts";
