"""Great Expectations: a suite that asks for the statistics of every column."""

import great_expectations as gx
import pandas as pd
from great_expectations import expectations as e

PACKAGES = ("great-expectations", "pandas", "numpy")
DIFFERS = {
    "profile": "19 columns: nulls, mean, deviation, extremes, distinct, three quantiles as expectations; "
    "the identifier is left out"
}


def profile(work):
    frame = pd.read_parquet(work.current, columns=work.columns)
    context = gx.get_context(mode="ephemeral")
    asset = context.data_sources.add_pandas("frames").add_dataframe_asset("frame")
    batch = asset.add_batch_definition_whole_dataframe("whole").get_batch(batch_parameters={"dataframe": frame})
    suite = context.suites.add(gx.ExpectationSuite(name="profile"))
    for name in work.columns:
        suite.add_expectation(e.ExpectColumnValuesToNotBeNull(column=name))
        suite.add_expectation(e.ExpectColumnUniqueValueCountToBeBetween(column=name, min_value=0))
    ranges = {"quantiles": [0.05, 0.5, 0.95], "value_ranges": [[None, 1e18]] * 3}
    for name in work.numeric:
        suite.add_expectation(e.ExpectColumnMeanToBeBetween(column=name, min_value=-1e18, max_value=1e18))
        suite.add_expectation(e.ExpectColumnStdevToBeBetween(column=name, min_value=0, max_value=1e18))
        suite.add_expectation(e.ExpectColumnMinToBeBetween(column=name, min_value=-1e18))
        suite.add_expectation(e.ExpectColumnMaxToBeBetween(column=name, max_value=1e18))
        suite.add_expectation(e.ExpectColumnQuantileValuesToBeBetween(column=name, quantile_ranges=ranges))
    results = batch.validate(suite).results
    failed = [r.expectation_config.type for r in results if r.exception_info.get("raised_exception")]
    assert not failed, failed
    mean = next(
        r.result["observed_value"]
        for r in results
        if r.expectation_config.type == "expect_column_mean_to_be_between"
        and r.expectation_config.kwargs["column"] == "f01"
    )
    return {"columns": len(work.columns), "expectations": len(results), "mean": float(mean)}
