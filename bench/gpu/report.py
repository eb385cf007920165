"""A measurement as Markdown: decode steps and prompts, with their shares of the ceiling and of the anchor."""
import pathlib


def label(system):
    return f"llmrt {pathlib.Path(system['plan']).stem}" if "plan" in system else system["name"]


def row(*cells):
    return "| " + " | ".join(cells) + " |"


def ratio(value, base):
    return f"{value / base:.2f}" if base else ""


def decode_table(systems, anchor, cost, read_gb_s):
    lines = [row("system", "batch", "context", "ms per step", "tokens/s", "GB/s", "share of read", "of the anchor"),
             "|---" * 8 + "|"]
    base = {r["batch"]: r["tokens_per_s"] for r in (anchor or {}).get("decode", [])}
    for system in systems:
        for r in system.get("decode", []):
            model = cost(system)
            gb_s = model.decode_gb(r["batch"], r["context"]) * 1e3 / r["ms_per_step"]
            share = f"{100 * gb_s / read_gb_s:.1f} %" if read_gb_s else ""
            lines.append(row(label(system), str(r["batch"]), str(r["context"]), f"{r['ms_per_step']:.3f}",
                             f"{r['tokens_per_s']:.1f}", f"{gb_s:.0f}", share,
                             ratio(r["tokens_per_s"], base.get(r["batch"]))))
    return lines


def prefill_table(systems, anchor, cost, matmul):
    lines = [row("system", "tokens", "ms", "tokens/s", "TFLOP/s", "share of matmul", "of the anchor"), "|---" * 7 + "|"]
    base = {r["tokens"]: r["tokens_per_s"] for r in (anchor or {}).get("prefill", [])}
    for system in systems:
        for r in system.get("prefill", []):
            tflop_s = cost(system).prefill_tflop(r["tokens"]) * 1e3 / r["ms"]
            share = f"{100 * tflop_s / matmul:.1f} %" if matmul else ""
            lines.append(row(label(system), str(r["tokens"]), f"{r['ms']:.2f}", f"{r['tokens_per_s']:.0f}",
                             f"{tflop_s:.0f}", share, ratio(r["tokens_per_s"], base.get(r["tokens"]))))
    return lines


def load_table(systems):
    loads = [s for s in systems if s.get("load")]
    if not loads:
        return []
    names = list(dict.fromkeys(name for s in loads for name in s["load"]))
    lines = ["", "Loading, seconds unless the name says otherwise:", "", row("system", *names),
             "|---" * (len(names) + 1) + "|"]
    for s in loads:
        cells = [s["load"].get(n) for n in names]
        lines.append(row(label(s), *("" if c is None else f"{c:.4g}" for c in cells)))
    return lines


def markdown(result, title, cost):
    """`cost(system)` is the ModelCost of what the system runs."""
    ceilings, systems = result.get("ceilings") or {}, result["systems"]
    anchor = next((s for s in systems if s["name"] == "torch.compile anchor"), None)
    lines = [f"# {title}", "", "Machine: " + ", ".join(str(v) for v in result["machine"].values() if v) + ".",
             f"Model: {result['model']}. Medians; random weights.", "", "```", *result["commands"], "```", ""]
    if ceilings:
        lines += [row("ceiling", "measured"), "|---|---|"]
        lines += [row(name, f"{v:.1f}" if isinstance(v, float) else str(v)) for name, v in ceilings.items()]
        lines.append("")
    lines += decode_table(systems, anchor, cost, ceilings.get("read_gb_s")) + [""]
    lines += prefill_table(systems, anchor, cost, ceilings.get("matmul_8192_tflop_s"))
    lines += load_table(systems)
    missing = [f"- {label(s)}: {m}" for s in systems for m in s.get("left_out", [])]
    missing += [f"- {m}" for m in result.get("left_out", [])]
    if missing:
        lines += ["", "Left out:", "", *missing]
    return "\n".join(lines) + "\n"
