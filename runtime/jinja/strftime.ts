// `strftime_now(format)`: the time of this machine, as Python's datetime.strftime writes it.
import { unsupported } from "./errors.ts";

const DAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = [
  "January",
  "February",
  "March",
  "April",
  "May",
  "June",
  "July",
  "August",
  "September",
  "October",
  "November",
  "December",
];

export function strftime(t: Date, format: string): string {
  const two = (n: number, fill = "0"): string => String(n).padStart(2, fill);
  const day =
    Math.round((Date.UTC(t.getFullYear(), t.getMonth(), t.getDate()) - Date.UTC(t.getFullYear(), 0, 1)) / 86_400_000) + 1;
  const twelve = t.getHours() % 12 || 12;
  const fields: Record<string, () => string> = {
    Y: () => String(t.getFullYear()),
    y: () => two(t.getFullYear() % 100),
    C: () => two(Math.floor(t.getFullYear() / 100)),
    m: () => two(t.getMonth() + 1),
    d: () => two(t.getDate()),
    e: () => two(t.getDate(), " "),
    H: () => two(t.getHours()),
    I: () => two(twelve),
    M: () => two(t.getMinutes()),
    S: () => two(t.getSeconds()),
    f: () => String(t.getMilliseconds() * 1000).padStart(6, "0"),
    p: () => (t.getHours() < 12 ? "AM" : "PM"),
    j: () => String(day).padStart(3, "0"),
    u: () => String(t.getDay() || 7),
    w: () => String(t.getDay()),
    A: () => DAYS[t.getDay()],
    a: () => DAYS[t.getDay()].slice(0, 3),
    B: () => MONTHS[t.getMonth()],
    b: () => MONTHS[t.getMonth()].slice(0, 3),
    h: () => MONTHS[t.getMonth()].slice(0, 3),
    D: () => strftime(t, "%m/%d/%y"),
    F: () => strftime(t, "%Y-%m-%d"),
    T: () => strftime(t, "%H:%M:%S"),
    X: () => strftime(t, "%H:%M:%S"),
    x: () => strftime(t, "%m/%d/%y"),
    R: () => strftime(t, "%H:%M"),
    r: () => strftime(t, "%I:%M:%S %p"),
    c: () => strftime(t, "%a %b %e %H:%M:%S %Y"),
    s: () => String(Math.floor(t.getTime() / 1000)),
    // datetime.now() knows no zone.
    Z: () => "",
    z: () => "",
    n: () => "\n",
    t: () => "\t",
    "%": () => "%",
  };
  return format.replace(/%(-?)([a-zA-Z%])/g, (all, bare: string, letter: string) => {
    if (!Object.hasOwn(fields, letter)) throw unsupported(`${all} in strftime_now`);
    return bare
      ? fields[letter]()
          .replace(/^[0 ](?=\d)/, "")
          .replace(/^0(?=\d)/, "")
      : fields[letter]();
  });
}
