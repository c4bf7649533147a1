// Roofline, shares and live bytes, drawn by Observable Plot in the colours of the page.
import * as Plot from "@observablehq/plot";
import { byKernel } from "./shares.ts";
import { isCall, type FunctionData, type LaunchData, type Report, type StepData } from "./data.ts";
import { bytes, flops, percent, time } from "./format.ts";
import { href } from "./route.ts";
import { measuredLaunch, profilesOf } from "./runs.ts";

type Figure = SVGElement | HTMLElement;

const style = { background: "transparent", fontFamily: "inherit", fontSize: "12px", overflow: "visible" };

/** A plot whose parts are no elements of their own to a screen reader: the plot has its name, and a table says the same. */
function drawn(options: Plot.PlotOptions): SVGSVGElement | HTMLElement {
  const plot = Plot.plot(options);
  for (const part of plot.querySelectorAll("g[aria-label]")) part.removeAttribute("aria-label");
  return plot;
}

/** As wide as the page's column. */
export const plotWidth = (): number => Math.max(560, Math.min(1444, document.documentElement.clientWidth - 56));

/** "2 PFLOP/s": ticks are whole. */
const tick = (text: string): string => text.replace(/\.0+ /, " ");

interface Point {
  launch: LaunchData;
  /** Operations a byte. */
  intensity: number;
  /** Operations a second: at the floor, and where it was measured. */
  rate: number;
  measured: boolean;
}

/** Every launch of a step by operations a byte; on the roof at its floor, below it where it was measured. */
export function rooflinePlot(r: Report, step: StepData, width: number): Figure {
  const seen = new Map<string, LaunchData>();
  for (const f of step.functions)
    for (const l of f.launches) if (!isCall(l) && l.flops > 0 && l.floor > 0) seen.set(`${l.kernel} ${l.site}`, l);
  const run = profilesOf(r, step).at(0);
  const points = [...seen.values()].flatMap((launch): Point[] => {
    const one = (us: number, measured: boolean): Point => ({
      launch,
      intensity: launch.flops / launch.bytes,
      rate: (launch.flops / us) * 1e6,
      measured,
    });
    const took = run && measuredLaunch(run, launch.kernel);
    return [one(launch.floor, false), ...(took ? [one(took.us, true)] : [])];
  });
  const formats = (["fp8", "bf16", "f32"] as const).filter((f) => points.some((p) => p.launch.format === f));
  const low = Math.min(0.1, ...points.map((p) => p.intensity)) / 2;
  const high = Math.max(2000, ...points.map((p) => p.intensity)) * 2;
  const roofs = formats.flatMap((format) => {
    const peak = r.device.peaks[format];
    const knee = peak / r.device.bandwidth;
    return [low, knee, high].map((x) => ({ format, x, y: Math.min(peak, x * r.device.bandwidth) }));
  });
  const atPeak = (peak: number): string => formats.filter((f) => r.device.peaks[f] === peak).join(", ");
  return drawn({
    width,
    height: 380,
    marginLeft: 96,
    marginRight: 60,
    style,
    ariaLabel: "Roofline",
    ariaDescription: `Launches of the step by operations a byte and operations a second at their floor on ${r.device.name}`,
    x: { type: "log", label: "operations a byte →", tickFormat: (d: number) => String(d), ticks: 6 },
    y: { type: "log", label: "↑ operations a second", tickFormat: (d: number) => tick(`${flops(d)}/s`), ticks: 6 },
    r: { range: [2.5, 16] },
    marks: [
      Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1 }),
      Plot.line(roofs, { x: "x", y: "y", z: "format", stroke: "var(--muted)", strokeWidth: 1 }),
      Plot.text(
        roofs.filter((p, i) => p.x === high && roofs.findIndex((q) => q.x === high && q.y === p.y) === i),
        { x: "x", y: "y", text: (p: (typeof roofs)[number]) => atPeak(p.y), textAnchor: "start", dx: 6, fill: "var(--muted)" },
      ),
      Plot.dot(points, {
        x: "intensity",
        y: "rate",
        r: (p: Point) => p.launch.share,
        fill: (p: Point) => (p.measured ? "var(--measured)" : "var(--accent)"),
        fillOpacity: 0.35,
        stroke: (p: Point) => (p.measured ? "var(--measured)" : "var(--accent)"),
        href: (p: Point) => href("kernels", p.launch.kernel),
        ariaLabel: (p: Point) => `${p.launch.kernel}, ${p.measured ? "measured" : "floor"}`,
        title: (p: Point) =>
          `${p.launch.kernel}\n${p.launch.op}\n${bytes(p.launch.bytes)}, ${flops(p.launch.flops)}, ` +
          `${p.measured ? "measured" : "at least"} ${time((p.launch.flops / p.rate) * 1e6)}\n${percent(p.launch.share)} of the step`,
        tip: true,
      }),
    ],
  });
}

/** The floor of a step as one bar, kernels side by side. */
export function sharePlot(step: StepData, width: number): Figure {
  const top = byKernel(step).slice(0, 14);
  return drawn({
    width,
    height: 22 * top.length + 40,
    marginLeft: Math.min(400, Math.max(...top.map((k) => k.kernel.length)) * 7.1 + 16),
    marginRight: 50,
    style,
    ariaLabel: "Share of the floor by kernel",
    x: { label: null, tickFormat: (d: number) => `${Math.round(100 * d)} %`, ticks: 5, grid: true },
    y: { label: null, domain: top.map((k) => k.kernel) },
    marks: [
      Plot.barX(top, {
        x: "share",
        y: "kernel",
        fill: "var(--accent)",
        fillOpacity: 0.75,
        insetTop: 3,
        insetBottom: 3,
        href: (k: (typeof top)[number]) => href("kernels", k.kernel),
        ariaLabel: (k: (typeof top)[number]) => `${k.kernel}: ${percent(k.share)}`,
        title: (k: (typeof top)[number]) => `${k.op}: ${time(k.floor)}`,
      }),
      Plot.text(top, {
        x: "share",
        y: "kernel",
        text: (k: (typeof top)[number]) => percent(k.share),
        textAnchor: "start",
        dx: 5,
        fill: "currentColor",
      }),
      Plot.ruleX([0], { stroke: "var(--line)" }),
    ],
  });
}

/** Buffers over the launches of a function, and above them all that lives. */
export function memoryPlot(f: FunctionData, width: number): Figure {
  const live = f.launches.map((_, i) => ({
    i,
    bytes: f.buffers.reduce((n, b) => (b.from <= i && i <= b.to ? n + b.bytes : n), 0),
  }));
  const end = live.at(-1);
  const stairs = end ? [...live, { i: end.i + 1, bytes: end.bytes }] : live;
  return drawn({
    width,
    height: 150,
    marginLeft: 220,
    marginRight: 16,
    style,
    ariaLabel: "Live bytes",
    x: { label: null, ticks: [], domain: [0, f.launches.length] },
    y: { label: null, tickFormat: (d: number) => tick(bytes(d)), ticks: 4, grid: true },
    marks: [
      Plot.areaY(stairs, { x: "i", y: "bytes", curve: "step-after", fill: "var(--accent)", fillOpacity: 0.15 }),
      Plot.lineY(stairs, { x: "i", y: "bytes", curve: "step-after", stroke: "var(--accent)" }),
      Plot.ruleY([0], { stroke: "var(--line)" }),
    ],
  });
}

export function lifePlot(f: FunctionData, width: number): Figure {
  const label = (b: FunctionData["buffers"][number], i: number): string => `${b.name}${" ".repeat(i)}`;
  const rows = f.buffers.map((b, i) => ({ ...b, row: label(b, i) }));
  const names = f.launches.map((l) => (isCall(l) ? l.call : l.op));
  return drawn({
    width,
    height: 20 * rows.length + 130,
    marginLeft: 220,
    marginRight: 16,
    marginBottom: 120,
    style,
    ariaLabel: "Lives of buffers",
    x: {
      label: null,
      domain: [0, f.launches.length],
      ticks: f.launches.map((_, i) => i + 0.5),
      tickFormat: (_: number, i: number) => names[i],
      tickRotate: -45,
      tickSize: 0,
    },
    y: { label: null, domain: rows.map((b) => b.row), tickFormat: (d: string) => d.trim(), tickSize: 0 },
    marks: [
      Plot.ruleX(
        f.launches.map((_, i) => i),
        { stroke: "var(--line)", strokeOpacity: 0.6 },
      ),
      Plot.barX(rows, {
        x1: "from",
        x2: (b: (typeof rows)[number]) => b.to + 1,
        y: "row",
        fill: "var(--accent)",
        fillOpacity: 0.6,
        insetTop: 4,
        insetBottom: 4,
        insetLeft: 1,
        insetRight: 1,
        title: (b: (typeof rows)[number]) => `${b.name} ${b.shape}: ${bytes(b.bytes)}`,
        tip: true,
      }),
    ],
  });
}
