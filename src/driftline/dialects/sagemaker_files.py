"""The files of Amazon SageMaker Model Monitor: the door through which the rest of Driftline reads and writes them."""

from __future__ import annotations

from typing import Final

from driftline.dialects.sagemaker_constraints import (
    ConstraintsFile,
    DataConstraints,
    Effects,
    Feature,
    MonitoringConfig,
    QualityConstraints,
    Threshold,
    constraints_of,
    quality_constraints,
    read_constraints,
    write_constraints,
)
from driftline.dialects.sagemaker_metrics import data_metrics, quality_metrics
from driftline.dialects.sagemaker_quality import (
    quality_statistics,
    standard_deviations,
    write_quality_statistics,
)
from driftline.dialects.sagemaker_statistics import (
    data_statistics,
    read_statistics,
    suggested_constraints,
    write_statistics,
)
from driftline.dialects.sagemaker_violations import violations, write_violations

STATISTICS: Final = "statistics.json"
CONSTRAINTS: Final = "constraints.json"
VIOLATIONS: Final = "constraint_violations.json"

__all__ = [
    "CONSTRAINTS",
    "STATISTICS",
    "VIOLATIONS",
    "ConstraintsFile",
    "DataConstraints",
    "Effects",
    "Feature",
    "MonitoringConfig",
    "QualityConstraints",
    "Threshold",
    "constraints_of",
    "data_metrics",
    "data_statistics",
    "quality_constraints",
    "quality_metrics",
    "quality_statistics",
    "read_constraints",
    "read_statistics",
    "standard_deviations",
    "suggested_constraints",
    "violations",
    "write_constraints",
    "write_quality_statistics",
    "write_statistics",
    "write_violations",
]
