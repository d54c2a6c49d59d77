"""PodSecurity "restricted", as https://kubernetes.io/docs/concepts/security/pod-security-standards/ lists it (1.36), and
what we ask for beyond it. PodSecurity admission itself runs only in a cluster."""

import copy

VOLUME_TYPES = {
    "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret",
}
SAFE_SYSCTLS = {
    "kernel.shm_rmid_forced", "net.ipv4.ip_local_port_range", "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies", "net.ipv4.ping_group_range", "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem",
}
SELINUX_TYPES = {"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
HANDLERS = ["httpGet", "tcpSocket"]
USER = 65532


def problems(documents):
    """What the pods of these documents break."""
    for document in documents:
        template = pod(document)
        if template:
            name = f"{document['kind']}/{document['metadata']['name']}"
            for problem in [*standard(template), *ours(template)]:
                yield f"{name}: {problem}"


def pod(document):
    """The pod in a document: its metadata and spec; None when it has none."""
    if document["kind"] == "Pod":
        return document
    return document.get("spec", {}).get("template")


def containers(template):
    spec = template["spec"]
    return [one for kind in ("initContainers", "containers", "ephemeralContainers") for one in spec.get(kind, [])]


def standard(template):
    """The standard."""
    spec = template["spec"]
    whole = spec.get("securityContext", {})
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} is set"
    for volume in spec.get("volumes", []):
        if not VOLUME_TYPES >= set(volume) - {"name"}:
            yield f"volume {volume['name']} is of a forbidden type"
    for sysctl in whole.get("sysctls", []):
        if sysctl["name"] not in SAFE_SYSCTLS:
            yield f"sysctl {sysctl['name']} is not safe"
    for key, value in template.get("metadata", {}).get("annotations", {}).items():
        if key.startswith("container.apparmor.security.beta.kubernetes.io/"):
            if value != "runtime/default" and not value.startswith("localhost/"):
                yield "AppArmor is off"
    yield from context("the pod", whole)
    for container in containers(template):
        yield from restricted_container(container, whole)


def restricted_container(container, whole):
    name, own = container["name"], container.get("securityContext", {})
    yield from context(name, own)
    if own.get("privileged"):
        yield f"{name} is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield f"{name} may gain privileges"
    if own.get("procMount", "Default") != "Default":
        yield f"{name} has another /proc"
    capabilities = own.get("capabilities", {})
    if "ALL" not in capabilities.get("drop", []):
        yield f"{name} keeps capabilities"
    if not {"NET_BIND_SERVICE"} >= set(capabilities.get("add", [])):
        yield f"{name} adds capabilities"
    if own.get("runAsNonRoot", whole.get("runAsNonRoot")) is not True:
        yield f"{name} may run as root"
    if own.get("seccompProfile", whole.get("seccompProfile", {})).get("type") not in ("RuntimeDefault", "Localhost"):
        yield f"{name} has no seccomp profile"
    if any(port.get("hostPort") for port in container.get("ports", [])):
        yield f"{name} has a port of the host"
    probes = [container.get(f"{probe}Probe", {}) for probe in ("startup", "liveness", "readiness")]
    hooks = list(container.get("lifecycle", {}).values())
    if any(one.get(handler, {}).get("host") for one in probes + hooks for handler in HANDLERS):
        yield f"{name} has a probe or hook for another host"


def context(name, own):
    """What a pod's and a container's security context have in common."""
    if own.get("runAsUser") == 0:
        yield f"{name} runs as root"
    if own.get("seccompProfile", {}).get("type") == "Unconfined":
        yield f"{name} has no seccomp"
    if own.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in ("RuntimeDefault", "Localhost"):
        yield f"{name} has no AppArmor"
    if own.get("windowsOptions", {}).get("hostProcess"):
        yield f"{name} is a process of the host"
    options = own.get("seLinuxOptions", {})
    if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
        yield f"{name} has SELinux options"


def ours(template):
    """What we ask for beyond the standard."""
    spec = template["spec"]
    whole = spec.get("securityContext", {})
    if (whole.get("runAsUser"), whole.get("fsGroup")) != (USER, USER):
        yield f"the pod doesn't run as {USER}"
    if spec.get("automountServiceAccountToken") is not False:
        yield "a service account's token is mounted"
    if spec.get("enableServiceLinks") is not False:
        yield "Services become variables, which no setting is"
    for container in containers(template):
        if container.get("securityContext", {}).get("readOnlyRootFilesystem") is not True:
            yield f"{container['name']} can write to its image"
        if "cpu" in container.get("resources", {}).get("limits", {}):
            yield f"{container['name']} has a CPU limit"


GOOD = {
    "metadata": {"annotations": {}},
    "spec": {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True, "runAsUser": USER, "fsGroup": USER, "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [{
            "name": "one",
            "ports": [{"containerPort": 1}],
            "livenessProbe": {"httpGet": {"port": 1}},
            "securityContext": {
                "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
            },
        }],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    },
}
POD, CONTAINER, VOLUME = ("spec",), ("spec", "containers", 0), ("spec", "volumes", 0)
SECURITY = (*CONTAINER, "securityContext")
# Each breaks one rule: where, and what is put there.
BAD = [
    ((*POD, "hostNetwork"), True),
    ((*POD, "hostPID"), True),
    ((*POD, "hostIPC"), True),
    ((*VOLUME, "hostPath"), {"path": "/"}),
    ((*POD, "securityContext", "sysctls"), [{"name": "kernel.msgmax", "value": "1"}]),
    ((*POD, "securityContext", "runAsUser"), 0),
    ((*POD, "securityContext", "runAsNonRoot"), False),
    ((*POD, "securityContext", "seccompProfile"), {"type": "Unconfined"}),
    ((*POD, "securityContext", "seccompProfile"), {}),
    ((*POD, "securityContext", "fsGroup"), 0),
    ((*POD, "automountServiceAccountToken"), True),
    ((*POD, "enableServiceLinks"), True),
    (("metadata", "annotations"), {"container.apparmor.security.beta.kubernetes.io/one": "unconfined"}),
    ((*SECURITY, "privileged"), True),
    ((*SECURITY, "allowPrivilegeEscalation"), True),
    ((*SECURITY, "readOnlyRootFilesystem"), False),
    ((*SECURITY, "procMount"), "Unmasked"),
    ((*SECURITY, "capabilities"), {"drop": ["NET_RAW"]}),
    ((*SECURITY, "capabilities"), {"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    ((*SECURITY, "runAsNonRoot"), False),
    ((*SECURITY, "runAsUser"), 0),
    ((*SECURITY, "seccompProfile"), {"type": "Unconfined"}),
    ((*SECURITY, "appArmorProfile"), {"type": "Unconfined"}),
    ((*SECURITY, "windowsOptions"), {"hostProcess": True}),
    ((*SECURITY, "seLinuxOptions"), {"type": "spc_t"}),
    ((*SECURITY, "seLinuxOptions"), {"user": "root"}),
    ((*CONTAINER, "ports"), [{"containerPort": 1, "hostPort": 1}]),
    ((*CONTAINER, "livenessProbe"), {"httpGet": {"port": 1, "host": "169.254.169.254"}}),
    ((*CONTAINER, "lifecycle"), {"preStop": {"httpGet": {"port": 1, "host": "127.0.0.1"}}}),
    ((*CONTAINER, "resources"), {"limits": {"cpu": "1"}}),
]


def misses():
    """The rules that these checks don't see broken, so that they are known to be able to fail."""
    found = [*standard(GOOD), *ours(GOOD)]
    if found:
        yield f"a good pod is refused: {found}"
    for path, value in BAD:
        template = copy.deepcopy(GOOD)
        place = template
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = value
        if not [*standard(template), *ours(template)]:
            yield f"{path} = {value} is accepted"
