"""The compiled parts, each left out where there is no compiler; all else stands in pyproject.toml."""

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            name,
            [f"src/{name.replace('.', '/')}.c"],
            extra_compile_args=["-O3", "-std=c11"],
            py_limited_api=True,
            optional=True,
        )
        for name in ("driftline.kernels._native", "driftline.dataset._captured")
    ],
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
