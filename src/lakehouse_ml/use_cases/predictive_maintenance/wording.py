"""How reports speak of machines: a prediction is of one component of one machine at one time."""

from __future__ import annotations

from lakehouse_ml.use_cases.wording import Measured, Told, Wording

_MEASURED = Measured(
    title="In visits and failures",
    sentences=(
        "A failure is counted once, however many predictions announce it; it is seen if its component was named at "
        "least once before it failed. A visit is one machine on one day: one that was needed replaces a repair that "
        "had to be paid anyway, so only needless ones cost. Where only the likeliest machines of a day are visited, "
        "they are as many as `capacity` in parameters.yml allows.",
    ),
    summary="Of {cost_n_failures} failures on unseen days, {hours_ahead_seen_share} were seen: half of those at least "
    "{hours_ahead_median_at_least} ahead, nine of ten at least {hours_ahead_quantile_10_at_least} ahead. "
    "Missed failures and needless visits cost {cost_cost_of_decisions} on those days. Doing nothing would have "
    "cost {cost_cost_of_nothing}: every failure missed.",
    rows=(
        Told("any", "precision", "Machines named at a time, whatever the component: share that fail", "share"),
        Told("any", "recall", "Machines that fail, whatever the component: share named at the time", "share"),
        Told("any", "f1", "Both as one number (F1, any component)", "score"),
        Told("macro", "f1", "F1 as a plain mean over components", "score"),
        Told("cost", "n_failures", "Failures", "count"),
        Told("hours_ahead", "seen_share", "… seen before they came, share", "share"),
        Told("cost", "n_missed_failures", "… missed", "count"),
        Told("hours_ahead", "median_at_least", "Time ahead that half of the seen failures reach", "hours"),
        Told("hours_ahead", "quantile_10_at_least", "Time ahead that nine of ten seen failures reach", "hours"),
        Told("cost", "n_visits", "Visits, if every named machine is visited", "count"),
        Told("cost", "n_needless_visits", "… to a machine on which nothing was about to fail", "count"),
        Told("capacity", "precision", "Visiting only the likeliest machines of a day: visits needed", "share"),
        Told("capacity", "caught_share", "… failures whose machine was visited then, at best", "share"),
        Told("cost", "cost_of_decisions", "Cost of missed failures and needless visits", "money"),
        Told("cost", "cost_of_every_visit", "Cost of missed failures and all visits", "money"),
        Told("cost", "cost_of_nothing", "Cost of doing nothing", "money"),
        Told("cost", "cost_of_decisions_per_day", "Missed failures and needless visits, a day", "money"),
        Told("cost", "cost_of_nothing_per_day", "Doing nothing, a day", "money"),
    ),
    tile=("Failures seen", "{hours_ahead_seen_share}", "half at least {hours_ahead_median_at_least} ahead"),
    brief=(
        "any failure",
        "F1 {any_f1}; {hours_ahead_seen_share} of {cost_n_failures} failures seen, half of those at least "
        "{hours_ahead_median_at_least} ahead",
    ),
    cases=("cost", "n_failures", "failures"),
)  # fmt: skip

WORDING = Wording(
    title="Predictive maintenance",
    entity="machine",
    one="prediction",
    many="predictions",
    all="components",
    who="that",
    happens="fail within the horizon",
    happened="failed within the horizon",
    action="a visit",
    whom="which to visit",
    listed="the {entities} to which a visit is worth most",
    economics="A visit costs {cost} and prevents {share} of the failures that it comes before; each would cost {value}",
    later="Land the days that follow: as soon as a prediction's horizon is over, it is compared with the failures",
    everybody="every component",
    share="in {share} of them the component failed within the horizon",
    named="name a component as likely to fail within the horizon",
    heads=("machine", "when (UTC)", "component"),
    rows="The model is judged by predictions of one component of one machine at one time: does it fail within the "
    "horizon, `horizon_hours` in parameters.yml? Predictions of one machine depend on each "
    "other. Intervals of the judgement allow for that, those in the picture of calibration don't and are too narrow.",
    worth="Each prediction is valued by itself here, so a failure that several announce counts as often, and so does "
    "the visit: read it to compare thresholds, and the section on visits and failures for what a plant would save.",
    measured=_MEASURED,
)
