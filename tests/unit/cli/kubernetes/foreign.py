"""Manifests of kinds that are not Kubernetes' own, against what their authors publish. Run by the Python that has that.

    build/kubernetes/bin/python tests/unit/cli/kubernetes/foreign.py FOLDER GATEWAY_API

KEDA's and the Prometheus operator's definitions are in packages of PyPI, as models; what a model does not know it leaves
out, so that what comes out is compared with what went in. The Gateway API's is in a package of npm, whose folder is GATEWAY_API:
a JSON schema, to which it is added that there is nothing else. `make test-kubernetes` gets them. Says of each file in FOLDER, as
JSON, which manifests in it keep to their definition, or what does not.
"""

from __future__ import annotations

import importlib
import json
import re
import sys
from pathlib import Path
from typing import Any, Final

import yaml

_MODELS: Final = {
    ("keda.sh/v1alpha1", "ScaledObject"): "cloudcoil.models.keda.v1alpha1",
    ("monitoring.coreos.com/v1", "ServiceMonitor"): "cloudcoil.models.prometheus_operator.v1",
}
_SCHEMAS: Final = {("gateway.networking.k8s.io/v1", "HTTPRoute"): "gateway.networking.k8s.io/v1/HTTPRoute.js"}
_LITERAL: Final = re.compile(r"const schema = (\{.*?\n\});?\n", re.DOTALL)
_METADATA: Final = {"name", "namespace", "labels"}


def main() -> None:
    folder, gateway_api = Path(sys.argv[1]), Path(sys.argv[2])
    json.dump({each.name: verdict(each, gateway_api) for each in folder.iterdir()}, sys.stdout)


def verdict(manifests: Path, gateway_api: Path) -> str:
    passed = []
    for each in yaml.safe_load_all(manifests.read_text("utf-8")):
        kind = (each["apiVersion"], each["kind"])
        try:
            if module := _MODELS.get(kind):
                keeps_to_model(each, getattr(importlib.import_module(module), each["kind"]))
            elif file := _SCHEMAS.get(kind):
                keeps_to_schema(each, schema_in(gateway_api / file))
            else:
                continue
        except ValueError as error:
            return f"wrong: {error}"
        passed.append(each["kind"])
    return f"right: {', '.join(passed)}"


def keeps_to_model(manifest: dict[str, Any], model: Any) -> None:
    """ValueError if it does not. (Pydantic's errors are some.)"""
    made = model.model_validate(manifest, strict=True).model_dump(
        by_alias=True, exclude_unset=True, mode="json"
    )
    if made != manifest:
        raise ValueError(f"{manifest['kind']}: only this of it is known: {json.dumps(made)}")


def keeps_to_schema(manifest: dict[str, Any], schema: dict[str, Any]) -> None:
    """ValueError if it does not. (jsonschema's own error is none.)"""
    jsonschema = importlib.import_module("jsonschema")
    if unknown := set(manifest["metadata"]) - _METADATA:
        raise ValueError(f"metadata has {unknown}")
    schema["properties"]["metadata"] = {"type": "object"}  # a reference to Kubernetes' own
    try:
        jsonschema.Draft7Validator(closed(schema)).validate(manifest)
    except jsonschema.ValidationError as error:
        raise ValueError(f"{error.json_path}: {error.message}") from error


def schema_in(file: Path) -> dict[str, Any]:
    found = _LITERAL.search(file.read_text("utf-8"))
    assert found is not None, f"no schema in {file}"
    schema: dict[str, Any] = json.loads(found[1])
    return schema


def closed(schema: Any) -> Any:
    """Such that properties that it does not name are none. What is ``nullable`` is still something."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(value) for key, value in schema.items()}
    if isinstance(made.get("properties"), dict) and "additionalProperties" not in made:
        made["additionalProperties"] = False
    return made


if __name__ == "__main__":
    main()
