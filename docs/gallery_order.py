"""The order of the examples in the gallery: that of use."""

ORDER = (
    "plot_one_model.py",
    "plot_mixed_table.py",
    "plot_outlier_detection.py",
    "plot_why_outlier.py",
    "plot_imputation.py",
    "plot_range_queries.py",
    "plot_grid_search.py",
    "plot_which_structure.py",
    "plot_density_2d.py",
    "plot_images.py",
    "plot_exact_inference.py",
)


class OrderOfUse:
    """Sorts the files of examples by `ORDER`; one that is not listed is an error."""

    def __init__(self, folder: str) -> None:
        pass

    def __call__(self, filename: str) -> int:
        """Return the place of an example."""
        return ORDER.index(filename)
