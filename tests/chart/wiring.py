"""Do the parts of one rendering fit: variables and mounted files, selectors and labels, probes and TLS, ports?"""

from pod_security import containers, pod

# Named by the database's URL, which is in a Secret.
NAMED_ELSEWHERE = {"/secrets/database-ca.crt"}
GRPC, HTTP = 50051, 9464


def problems(documents):
    """What doesn't fit."""
    by_kind = {}
    for document in documents:
        by_kind.setdefault(document["kind"], []).append(document)
    workloads = by_kind.get("Deployment", []) + by_kind.get("StatefulSet", [])
    if len(workloads) != 1:
        yield f"{len(workloads)} workloads"
        return
    workload = workloads[0]
    yield from unique_names(documents)
    yield from selectors(by_kind, workload)
    for document in documents:
        if pod(document):
            for problem in files(document):
                yield f"{document['kind']}/{document['metadata']['name']}: {problem}"
    yield from ports(by_kind, workload)
    yield from replicas(by_kind, workload)


def unique_names(documents):
    seen = set()
    for document in documents:
        name = (document["kind"], document["metadata"]["name"])
        if name in seen:
            yield f"{name} comes twice"
        seen.add(name)


def selects(selector, labels):
    return selector.items() <= labels.items()


def selectors(by_kind, workload):
    """Everything that selects pods selects ours, and never the test's."""
    labels = workload["spec"]["template"]["metadata"]["labels"]
    found = [("the workload", workload["spec"]["selector"]["matchLabels"])]
    found += [(f"Service {one['metadata']['name']}", one["spec"]["selector"]) for one in by_kind["Service"]]
    for kind, field in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
        found += [(kind, one["spec"][field]["matchLabels"]) for one in by_kind.get(kind, [])]
    for who, selector in found:
        if not selects(selector, labels):
            yield f"{who} doesn't select the pods"
        for test in by_kind.get("Pod", []):
            if selects(selector, test["metadata"]["labels"]):
                yield f"{who} selects the pod of the test"
    for monitor in by_kind.get("ServiceMonitor", []):
        selector = monitor["spec"]["selector"]["matchLabels"]
        for endpoint in monitor["spec"]["endpoints"]:
            scraped = [
                service for service in by_kind["Service"]
                if selects(selector, service["metadata"]["labels"])
                and any(port["name"] == endpoint["port"] for port in service["spec"]["ports"])
            ]
            if len(scraped) != 1:
                yield f"the ServiceMonitor finds {len(scraped)} Services"
    headless = [one["metadata"]["name"] for one in by_kind["Service"] if one["spec"].get("clusterIP") == "None"]
    if workload["kind"] == "StatefulSet" and workload["spec"]["serviceName"] not in headless:
        yield "the StatefulSet's Service is not a headless one"


def files(document):
    """Every file that a variable names is mounted, and every mounted file is named."""
    spec = pod(document)["spec"]
    volumes = {volume["name"]: volume for volume in spec.get("volumes", [])}
    for claim in document.get("spec", {}).get("volumeClaimTemplates", []):
        volumes[claim["metadata"]["name"]] = claim
    projected, named = set(), set(NAMED_ELSEWHERE)
    for container in containers(pod(document)):
        mounts = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
        for volume in set(mounts.values()) - set(volumes):
            yield f"{container['name']} mounts {volume}, which is no volume"
        present = {
            f"{path}/{item['path']}"
            for path, name in mounts.items()
            for source in volumes.get(name, {}).get("projected", {}).get("sources", [])
            for item in source["secret"]["items"]
        }
        projected |= present
        if any("subPath" in mount for mount in container.get("volumeMounts", [])):
            yield f"{container['name']} mounts a single file, which is never renewed"
        names = [variable["name"] for variable in container.get("env", [])]
        for name in {name for name in names if names.count(name) > 1}:
            yield f"{container['name']} sets {name} twice"
        for variable in container.get("env", []):
            if variable["name"].endswith(("_FILE", "_CERTIFICATE")):
                named.add(variable["value"])
                if variable["value"] not in present:
                    yield f"{container['name']} is told of {variable['value']}, which isn't mounted"
    for path in sorted(projected - named):
        yield f"{path} is mounted and nobody is told"
    for name in sorted(set(volumes) - {m["name"] for c in containers(pod(document)) for m in c.get("volumeMounts", [])}):
        yield f"nobody mounts {name}"


def ports(by_kind, workload):
    """The same two ports everywhere, and probes that speak as the port does."""
    main = workload["spec"]["template"]["spec"]["containers"][0]
    variables = {variable["name"]: variable.get("value") for variable in main["env"]}
    open_ports = {port["name"]: port["containerPort"] for port in main["ports"]}
    if open_ports != {"grpc": GRPC, "http": HTTP}:
        yield f"the ports are {open_ports}"
    for name, port in (("CLAVIGER_LISTEN", GRPC), ("CLAVIGER_HTTP_LISTEN", HTTP)):
        if variables.get(name) != f"0.0.0.0:{port}":
            yield f"{name} is {variables.get(name)}"
    tls = "CLAVIGER_TLS_CERTIFICATE_FILE" in variables
    if tls == ("CLAVIGER_INSECURE" in variables):
        yield "neither TLS nor the word that it may be plaintext, or both"
    for probe in ("startup", "liveness", "readiness"):
        asked = main[f"{probe}Probe"]["httpGet"]
        if (asked["port"], asked["scheme"]) != ("http", "HTTPS" if tls else "HTTP"):
            yield f"the {probe} probe asks {asked}"
    for monitor in by_kind.get("ServiceMonitor", []):
        if [endpoint.get("scheme") for endpoint in monitor["spec"]["endpoints"]] != ["https" if tls else "http"]:
            yield "the ServiceMonitor doesn't speak as the port does"
    for service in by_kind["Service"]:
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in open_ports or port["port"] != open_ports[port["targetPort"]]:
                yield f"a Service has the port {port}"
    for policy in by_kind.get("NetworkPolicy", []):
        let_in = {port["port"] for rule in policy["spec"]["ingress"] for port in rule["ports"]}
        if let_in != {GRPC, HTTP}:
            yield f"the NetworkPolicy lets in to {let_in}"
        test = by_kind["Pod"][0]["metadata"]["labels"]
        grpc = next(rule for rule in policy["spec"]["ingress"] if rule["ports"][0]["port"] == GRPC)
        peers = [peer.get("podSelector", {}).get("matchLabels") for peer in grpc.get("from", [])]
        if peers and not any(peer and selects(peer, test) for peer in peers):
            yield "the NetworkPolicy keeps the test out"


def replicas(by_kind, workload):
    """One decides how many pods there are, and a budget is there when there are several."""
    number = workload["spec"].get("replicas")
    scalers = by_kind.get("HorizontalPodAutoscaler", [])
    if (number is None) != bool(scalers):
        yield f"replicas: {number} beside {len(scalers)} autoscalers"
    for scaler in scalers:
        target = scaler["spec"]["scaleTargetRef"]
        if (target["kind"], target["name"]) != (workload["kind"], workload["metadata"]["name"]):
            yield f"the autoscaler is for {target}"
        number = scaler["spec"]["minReplicas"]
    if (number > 1) != bool(by_kind.get("PodDisruptionBudget")):
        yield f"{number} pods, and PodDisruptionBudgets: {len(by_kind.get('PodDisruptionBudget', []))}"
