// The pipeline of a model that is divided over ranks: it is divided first, where it is written plainly.
import type { Pass } from "../pass.ts";
import { meet } from "./meet.ts";
import { rank, shard } from "./shard.ts";

export const withRanks = (pipeline: readonly Pass[]): readonly Pass[] => [shard, rank, meet, ...pipeline];
