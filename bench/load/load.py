"""`keepword bench load`: one load against a stack, told from both ends."""

from dataclasses import asdict

from bench.load.measure import SATURATED_SHARE, Measured, Tell, as_detail, measure
from bench.load.place import Place
from bench.load.plan import LoadPlan
from bench.load.series import over_time
from bench.result import Bar, BenchResult, bar


async def run(plan: LoadPlan, where: Place, *, tell: Tell | None = None) -> BenchResult:
    """Measure `plan` at `where`."""
    return result(await measure(plan, where.watch, tell=tell), where)


def result(measured: Measured, where: Place) -> BenchResult:
    figures, slo = measured.figures, measured.plan.slo
    bars: dict[str, Bar] = {
        "turns_good_share": bar(measured.good_share, slo.share, ">="),
        "errors": bar(sum(measured.errors.values()), 0),
        "generator_share_of_a_core": bar(measured.generator_share, SATURATED_SHARE),
        "turns_per_s": bar(measured.ended / measured.span_s if measured.span_s else 0.0, None),
        "first_sentence_p50_s": bar(figures.at("first_sentence", 0.5), None),
        "first_sentence_p99_s": bar(figures.at("first_sentence", 0.99), None),
        "turn_p50_s": bar(figures.at("turn", 0.5), None),
        "turn_p99_s": bar(figures.at("turn", 0.99), None),
    }
    detail = {"engine": where.engine, "plan": asdict(measured.plan), **as_detail(measured), "series": over_time(measured)}
    return BenchResult("bench load", bars, detail)
