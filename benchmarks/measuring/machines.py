"""What the benchmarks of predictive maintenance take for granted, as values of its spec."""

from __future__ import annotations

from typing import Any

CONF: dict[str, Any] = {
    "step_hours": 12, "phase_hours": 0, "horizon_hours": 24, "telemetry": False, "window_hours": (3, 24),
    "error_window_hours": 24, "errors": ("error1", "error2", "error3", "error4", "error5"),
    "components": ("comp1", "comp2", "comp3", "comp4"),
}  # fmt: skip
