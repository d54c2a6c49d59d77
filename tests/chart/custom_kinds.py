"""ServiceMonitor and PrometheusRule, kinds of the Prometheus operator. Kubernetes' schemas don't have them, so their shape is
checked here, by hand: the fields that the chart uses, and no others. promtool checks what is in the rules."""

import json
import pathlib
import re

import yaml

OPERATOR = "monitoring.coreos.com/v1"
FILES = pathlib.Path(__file__).parents[2] / "helm/claviger/files"
DURATION = re.compile(r"^([0-9]+(ms|s|m|h|d))+$")
RULE_FIELDS = {"record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"}
GROUP_FIELDS = {"name", "interval", "limit", "labels", "rules"}


def is_custom(document):
    """Whether it is of a kind that only an operator brings."""
    return document["apiVersion"] == OPERATOR


def problems(documents):
    """What is wrong with those, and with the dashboard."""
    for document in documents:
        match document["kind"]:
            case "ServiceMonitor":
                yield from service_monitor(document["spec"])
            case "PrometheusRule":
                yield from prometheus_rule(document["spec"])
            case "ConfigMap":
                yield from dashboard(document)
            case kind if is_custom(document):
                yield f"a kind that nothing checks: {kind}"


def unknown(what, found, known):
    for field in sorted(set(found) - known):
        yield f"{what} has the field {field}"


def service_monitor(spec):
    yield from unknown("ServiceMonitor", spec, {"selector", "endpoints"})
    for endpoint in spec["endpoints"]:
        yield from unknown("an endpoint", endpoint, {"port", "path", "interval", "scheme", "tlsConfig"})
        if not DURATION.match(endpoint["interval"]):
            yield f"the interval is {endpoint['interval']}"
        tls = endpoint.get("tlsConfig", {})
        yield from unknown("tlsConfig", tls, {"ca", "serverName"})
        for kind, reference in tls.get("ca", {}).items():
            if kind != "secret" or set(reference) != {"name", "key"}:
                yield f"the authority is {kind} {reference}"


def prometheus_rule(spec):
    source = yaml.safe_load((FILES / "alerts.yaml").read_text())
    if spec != source:
        yield "PrometheusRule is not what files/alerts.yaml says"
    yield from unknown("PrometheusRule", spec, {"groups"})
    names = [group["name"] for group in spec["groups"]]
    if len(names) != len(set(names)):
        yield f"groups of rules have the same name: {names}"
    for group in spec["groups"]:
        yield from unknown(f"group {group['name']}", group, GROUP_FIELDS)
        for rule in group["rules"]:
            yield from unknown(f"a rule of {group['name']}", rule, RULE_FIELDS)
            if ("alert" in rule) == ("record" in rule) or not rule.get("expr"):
                yield f"a rule of {group['name']} is neither an alert nor a record: {rule}"
            # The operator's type for both; a number would be refused by the API server.
            texts = [*rule.get("labels", {}).values(), *rule.get("annotations", {}).values()]
            if not all(isinstance(text, str) for text in texts):
                yield f"{rule.get('alert')} has a label or annotation that is no text"
            if "for" in rule and not DURATION.match(str(rule["for"])):
                yield f"{rule.get('alert')} waits for {rule['for']}"


def dashboard(config_map):
    if config_map["metadata"]["labels"].get("grafana_dashboard") != "1":
        yield "Grafana's sidecar doesn't find the dashboard"
    source = json.loads((FILES / "dashboard.json").read_text())
    if [json.loads(text) for text in config_map["data"].values()] != [source]:
        yield "the dashboard is not what files/dashboard.json says"
    size = sum(len(text.encode()) for text in config_map["data"].values())
    if size > 900_000:
        yield f"the dashboard has {size} bytes; a ConfigMap takes a million"
