// What a session needs of the model it belongs to (runtime/model.ts): a plan, a device, and weights that lie on it.
import type { Manifest } from "../ir/artifact.ts";
import type { Device } from "./device.ts";
import type { Mail } from "./ranks/letters.ts";
import type { WeightStore } from "./weights.ts";

export interface SessionModel {
  readonly manifest: Manifest;
  readonly device: Device;
  readonly weights: WeightStore;
  /** Where other ranks have to make the same calls, who tells them. */
  readonly mail?: Mail | undefined;
  /** Sessions opened so far. */
  sessions: number;
  /** Makes the rope tables reach `positions` rows. */
  ensureRope(positions: number): void;
  /** The first weight that holds a value that is no number, in words, or none. */
  notFinite(): string | undefined;
}
