"""The sections of a report, one module for each group, in the order of the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lakehouse_ml.report.page import Page
from lakehouse_ml.report.sections.holdout import build_curves_section, build_segments_section, build_value_section
from lakehouse_ml.report.sections.inputs import build_data_section, build_quality_section
from lakehouse_ml.report.sections.judgement import build_judgement_section, build_measures_sections
from lakehouse_ml.report.sections.outcomes import build_outcomes_section, build_trend_section
from lakehouse_ml.report.sections.overview import build_tiles, list_steps, write_summary
from lakehouse_ml.report.sections.scores import build_drift_section, build_scores_section
from lakehouse_ml.report.sections.training import build_features_section, build_trials_section

if TYPE_CHECKING:
    from lakehouse_ml.report.data import ReportData


def build_page(data: ReportData) -> Page:
    """Build the whole report."""
    return Page(
        title=f"{data.words.title}: data, model and scores",
        made_at=f"Made on {data.made_at:%d %B %Y, %H:%M} UTC",
        summary=list(write_summary(data)),
        tiles=build_tiles(data),
        steps=list(list_steps(data)),
        sections=[
            build_data_section(data),
            build_quality_section(data),
            build_features_section(data),
            build_trials_section(data),
            build_judgement_section(data),
            *build_measures_sections(data),
            build_curves_section(data),
            build_segments_section(data),
            build_value_section(data),
            build_scores_section(data),
            build_drift_section(data),
            build_outcomes_section(data),
            build_trend_section(data),
        ],
    )
