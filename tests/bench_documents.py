"""Documents as `edgeseq bench --json` writes them, made by hand."""

import json
from pathlib import Path
from typing import Any


def result(**changes: Any) -> dict[str, Any]:
    """Give a result with every key that there is."""
    return {
        "bundle": "fan.bundle",
        "name": "fan",
        "variant": "int8",
        "backend": "ort",
        "threads": 1,
        "steps": 100_000,
        "p50_us": 10.0,
        "p90_us": 12.0,
        "p95_us": 13.0,
        "p99_us": 20.0,
        "p999_us": 90.0,
        "max_us": 400.0,
        "mean_us": 10.0,
        "std_us": 1.0,
        "run_us_per_step": 9.0,
        "first_step_us": 300.0,
        "load_ms": 30.0,
        "rss_mb": 60.0,
        "rate_hz": None,
        "cpu": "A",
        "api": "step",
        "interval": None,
        "deadline_misses": None,
        "duration_s": None,
        "cpu_affinity": [2],
        "fifo_priority": 50,
        "weight_bytes": 9,
        "state_bytes": 9,
        "bytes_per_step": 36_044,
        "macs_per_step": 20_960,
        "timer_overhead_ns": 40.0,
        "ceiling": {"bandwidth_gb_s": 9.0, "gmac_s": 9.0, "bound_us": 2.5, "bound_by": "bandwidth", "distance": 4.0},
        "board_before": {"clock_mhz": 2400.0, "temperature_c": 50.0, "throttled": False},
        "board_after": {"clock_mhz": 1800.0, "temperature_c": 81.0, "throttled": True},
        "histogram": {"le_us": [9.0, 10.0, 20.0, 400.0], "count": [40_000, 30_000, 29_999, 1]},
        **changes,
    }


def written(path: Path, *results: dict[str, Any], **device: Any) -> Path:
    path.write_text(json.dumps({"device": {"cpu": "A", "load_1min": 0.1, **device}, "results": results}), "utf-8")
    return path
