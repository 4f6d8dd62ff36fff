"""Where the documentation is, to which scikit-learn's HTML representation links."""

from __future__ import annotations

__all__ = ["DOCUMENTATION", "DocumentationLink"]

#: Address of the documentation.
DOCUMENTATION = "https://sklearn-einet.github.io/sklearn-einet"


class DocumentationLink:
    """Makes the HTML representation of an estimator link to the estimator's page.

    A mixin for estimators of scikit-learn, which reads these attributes.
    """

    _doc_link_module = "sklearn_einet"
    _doc_link_template = DOCUMENTATION + "/api/generated/{qualified_name}.html"

    def _doc_link_url_param_generator(self) -> dict[str, str]:
        """Return the name by which users import the class."""
        module = type(self).__module__
        public = module if module.startswith("sklearn_einet.contrib.") else "sklearn_einet"
        return {"qualified_name": f"{public}.{type(self).__name__}"}
