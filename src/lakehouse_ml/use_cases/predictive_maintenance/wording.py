"""The report's sentences for machines: a prediction is of one component of one machine at one time."""

from __future__ import annotations

from lakehouse_ml.use_cases.wording import MetricSection, ReportedMetric, Wording

_METRICS = MetricSection(
    title="In visits and failures",
    sentences=(
        "A failure is counted once, however many predictions announce it; it is seen if its component was named at "
        "least once before it failed. A visit is one machine on one day: one that was needed replaces a repair that "
        "had to be paid anyway, so only needless ones cost. Where only the likeliest machines of a day are visited, "
        "they are as many as `capacity` in parameters.yml allows.",
    ),
    summary="Of {cost_n_failures} failures on unseen days, {hours_ahead_seen_share} were seen, a median of at least "
    "{hours_ahead_median_at_least} ahead, and nine of ten at least {hours_ahead_quantile_10_at_least} ahead. "
    "Missed failures and needless visits cost {cost_cost_of_decisions} on those days. Doing nothing would have "
    "cost {cost_cost_of_nothing}: every failure missed.",
    metrics=(
        ReportedMetric("any", "precision", "Machines named at a time, any component: share that fail", "share"),
        ReportedMetric("any", "recall", "Machines that fail, whatever the component: share named at the time", "share"),
        ReportedMetric("any", "f1", "Both as one number (F1, any component)", "score"),
        ReportedMetric("macro", "f1", "F1 as a plain mean over components", "score"),
        ReportedMetric("cost", "n_failures", "Failures", "count"),
        ReportedMetric("hours_ahead", "seen_share", "… seen before they came, share", "share"),
        ReportedMetric("cost", "n_missed_failures", "… missed", "count"),
        ReportedMetric("hours_ahead", "median_at_least", "Time ahead that half of the seen failures reach", "hours"),
        ReportedMetric("hours_ahead", "quantile_10_at_least", "Time ahead that nine of ten of them reach", "hours"),
        ReportedMetric("cost", "n_visits", "Visits, if every named machine is visited", "count"),
        ReportedMetric("cost", "n_needless_visits", "… to a machine on which nothing was about to fail", "count"),
        ReportedMetric("capacity", "precision", "Visiting only the likeliest machines a day: visits needed", "share"),
        ReportedMetric("capacity", "caught_share", "… failures whose machine was visited then, at best", "share"),
        ReportedMetric("cost", "cost_of_decisions", "Cost of missed failures and needless visits", "money"),
        ReportedMetric("cost", "cost_of_every_visit", "Cost of missed failures and all visits", "money"),
        ReportedMetric("cost", "cost_of_nothing", "Cost of doing nothing", "money"),
        ReportedMetric("cost", "cost_of_decisions_per_day", "Missed failures and needless visits, a day", "money"),
        ReportedMetric("cost", "cost_of_nothing_per_day", "Doing nothing, a day", "money"),
    ),
    tile=("Failures seen", "{hours_ahead_seen_share}", "median at least {hours_ahead_median_at_least} ahead"),
    brief=(
        "any failure",
        "F1 {any_f1}; {hours_ahead_seen_share} of {cost_n_failures} failures seen, median at least "
        "{hours_ahead_median_at_least} ahead",
    ),
    cases=("cost", "n_failures", "failures"),
)

WORDING = Wording(
    title="Predictive maintenance",
    entity="machine",
    row="prediction",
    action="a visit",
    action_list="visit list",
    heads=("machine", "when (UTC)", "component"),
    positives="components that failed within the horizon",
    outcomes=("failed within the horizon", "did not fail within the horizon"),
    prediction="likely to fail within the horizon",
    calibration="Of components scored 30 %, do 30 % fail within the horizon?",
    economics="A visit costs {cost} and prevents {share} of the failures that it comes before; each would cost {value}",
    next_outcomes="Land the days that follow: a prediction is compared with the failures once its horizon is over",
    judgement_note="The model is judged by predictions of one component of one machine at one time: does it fail "
    "within the horizon, `horizon_hours` in parameters.yml? Predictions of one machine depend on each other. The "
    "intervals of the metrics allow for that; those in the picture of calibration don't and are too narrow.",
    value_note="Each prediction is valued by itself here: a failure that several predictions announce counts several "
    "times, and so does the visit. Use it to compare thresholds; see visits and failures for what a plant would save.",
    metric_section=_METRICS,
)
