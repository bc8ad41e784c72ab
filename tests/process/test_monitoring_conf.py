"""The alert rules and the Grafana dashboard parse, fire when they should, and name metrics that exist."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.support.processes import ROOT, Server
from tests.support.programs import needs

ALERTS = ROOT / "conf" / "alerts.yml"
GRAFANA = ROOT / "conf" / "grafana-dashboard.json"
needs_promtool = needs("promtool")

# For each alert: series by minute (promtool's notation), and the minute at which it must fire.
SITUATIONS = {
    "BlobkeepNotReady": ({"blobkeep_ready": "1 1 0x9"}, 5),
    "BlobkeepProcessDown": ({'blobkeep_process_up{process="gc"}': "1 0x9"}, 5),
    "BlobkeepRestarts": ({'blobkeep_process_crashes_total{process="gc"}': "0 1 2 3 4 4x20"}, 10),
    "BlobkeepDamageFound": ({"blobkeep_damaged_blobs": "0 1x9"}, 2),
    "BlobkeepUnread": ({"blobkeep_unread_blobs": "0 1x20"}, 12),
    "BlobkeepReadErrors": ({"blobkeep_read_errors_total": "0 1x9"}, 3),
    "BlobkeepDiskAlmostFull": (
        {"blobkeep_disk_free_bytes": "4x20", "blobkeep_disk_size_bytes": "100x20"},
        10,
    ),
    "BlobkeepDiskFilling": (
        {
            "blobkeep_disk_free_bytes": "4000-1x600",
            "blobkeep_disk_size_bytes": "10000x600",
            "blobkeep_disk_min_free_bytes": "1500x600",
        },
        500,
    ),
    "BlobkeepInodesFewLeft": ({"blobkeep_disk_free_inodes": "99x20"}, 10),
    "BlobkeepIdsFewLeft": ({"blobkeep_ids_left": "9x20", "blobkeep_ids": "1000x20"}, 10),
    "BlobkeepGcStalled": ({'blobkeep_process_silence_seconds{process="gc"}': "0+60x60"}, 40),
    "BlobkeepGcErrors": ({"blobkeep_gc_errors_total": "0+1x90"}, 60),
    "BlobkeepWorkerPassesFail": ({'blobkeep_worker_failed_passes_total{process="gc"}': "0+1x90"}, 60),
    "BlobkeepScrubStalled": ({"blobkeep_scrub_round_left_blobs": "7x300"}, 290),
    "BlobkeepSyncsSlow": (
        {
            'blobkeep_commit_sync_seconds_bucket{le="0.5"}': "0x60",
            'blobkeep_commit_sync_seconds_bucket{le="1"}': "0+60x60",
            'blobkeep_commit_sync_seconds_bucket{le="+Inf"}': "0+60x60",
        },
        50,
    ),
    "BlobkeepErrors": (
        {
            'blobkeep_requests_total{status="500"}': "0+2x60",
            'blobkeep_requests_total{status="200"}': "0+98x60",
        },
        50,
    ),
}
# A healthy server fires no alert.
HEALTHY = {
    "blobkeep_ready": "1x120",
    'blobkeep_process_up{process="gc"}': "1x120",
    'blobkeep_process_crashes_total{process="gc"}': "3x120",
    "blobkeep_damaged_blobs": "0x120",
    "blobkeep_unread_blobs": "0x120",
    "blobkeep_read_errors_total": "7x120",
    "blobkeep_disk_free_bytes": "400000x120",
    "blobkeep_disk_size_bytes": "1000000x120",
    "blobkeep_disk_min_free_bytes": "1x120",
    "blobkeep_disk_free_inodes": "1000000x120",
    "blobkeep_ids_left": "60000x120",
    "blobkeep_ids": "65536x120",
    'blobkeep_process_silence_seconds{process="gc"}': "5x120",
    'blobkeep_worker_failed_passes_total{process="gc"}': "1x120",
    'blobkeep_blobs{state="Failure"}': "50x120",
    "blobkeep_gc_errors_total": "0x120",
    "blobkeep_scrub_round_left_blobs": "500-1x120",
    'blobkeep_commit_sync_seconds_bucket{le="0.5"}': "0+60x120",
    'blobkeep_commit_sync_seconds_bucket{le="+Inf"}': "0+60x120",
    'blobkeep_requests_total{status="200"}': "0+98x120",
}


def _alerts() -> list[str]:
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


@needs_promtool
def test_promtool_accepts_the_rules() -> None:
    done = subprocess.run(["promtool", "check", "rules", ALERTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_promtool
def test_each_alert_fires_in_its_situation_and_none_in_good_health(tmp_path: Path) -> None:
    assert sorted(_alerts()) == sorted(SITUATIONS)

    def case(
        series: dict[str, str], expr: str, minute: int, samples: list[dict[str, object]]
    ) -> dict[str, object]:
        return {
            "interval": "1m",
            "input_series": [{"series": name, "values": values} for name, values in series.items()],
            "promql_expr_test": [{"expr": expr, "eval_time": f"{minute}m", "exp_samples": samples}],
        }

    def firing(name: str) -> str:
        return f'count(ALERTS{{alertstate="firing", alertname=~"{name}"}})'

    cases = [
        case(series, firing(name), minute, [{"labels": "{}", "value": 1}])
        for name, (series, minute) in SITUATIONS.items()
    ]
    cases.append(case(HEALTHY, firing(".*"), 110, []))
    spec = tmp_path / "test.yml"  # JSON is YAML
    spec.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": cases}))
    done = subprocess.run(["promtool", "test", "rules", spec], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_metric_that_they_name_exists(server: Server) -> None:
    assert server.ask("POST", "/store/a", b"1").status == 201
    text = server.ask("GET", "/metrics").body.decode()
    known = set(re.findall(r"^(blobkeep_\w+)", text, re.MULTILINE))
    known |= set(re.findall(r"^# TYPE (blobkeep_\w+)", text, re.MULTILINE))
    for path in (ALERTS, GRAFANA):
        named = set(re.findall(r"\bblobkeep_\w+", path.read_text()))
        assert len(named) > 10
        assert named <= known, f"{path.name} names what /metrics does not have: {sorted(named - known)}"


def test_the_grafana_dashboard_shows_each_panel_once_and_without_overlap() -> None:
    panels = json.loads(GRAFANA.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert all(0 <= x < 24 for x, _ in cells)
