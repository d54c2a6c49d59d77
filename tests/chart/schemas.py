"""Are the documents valid for each version of Kubernetes that the chart is for? Strictly: unknown fields are errors."""

import functools

import kubernetes_validate
from kubernetes_validate import utils

import custom_kinds

VERSIONS = [f"1.{minor}" for minor in range(30, 37)]
OLDEST, NEWEST = VERSIONS[0], VERSIONS[-1]

# The package reads megabytes of schema for each document; once is enough.
utils.schema_contents = functools.cache(utils.schema_contents)


def problems(documents):
    """What is wrong with them, by version."""
    for version in VERSIONS:
        for document in documents:
            if custom_kinds.is_custom(document):
                continue
            try:
                used = utils.validate(document, version, strict=True)
                # The package silently takes an older schema when it has none for a version.
                if used != version:
                    yield f"there is no schema for Kubernetes {version}, only {used}"
            except kubernetes_validate.ValidationError as error:
                path = ".".join(str(part) for part in error.path)
                yield f"{utils.kn(document)} is not valid for Kubernetes {version}: {path}: {error.message}"
            except kubernetes_validate.SchemaNotFoundError as error:
                yield error.message
