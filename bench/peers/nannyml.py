"""NannyML: the univariate drift of ten chunks."""

import nannyml as nml
import pandas as pd

PACKAGES = ("nannyml", "pandas", "numpy")
DIFFERS = {
    "drift": "19 columns: KS and Jensen-Shannon of numbers, Jensen-Shannon and L-infinity of categories; ten chunks"
}


def drift(work):
    current, reference = (pd.read_parquet(path, columns=work.columns) for path in work.paths)
    calculator = nml.UnivariateDriftCalculator(
        column_names=work.columns,
        continuous_methods=["kolmogorov_smirnov", "jensen_shannon"],
        categorical_methods=["jensen_shannon", "l_infinity"],
        chunk_number=10,
    )
    calculator.fit(reference)
    return {"rows": len(calculator.calculate(current).to_df()), "columns": len(work.columns)}
