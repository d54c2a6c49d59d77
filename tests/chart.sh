#!/usr/bin/env bash
# Checks the chart without a cluster. For every ci/*-values.yaml: it lints, renders what tests/snapshots/chart has, fits
# Kubernetes' own schemas and PodSecurity "restricted", and its parts fit each other (tests/chart/check.py). And the values
# that would lose data or keys are refused. Called by a test; the tools come from tests/tools.sh.
#
#   tests/chart.sh           check
#   tests/chart.sh --renew   first write the snapshots anew: look at the difference before you commit it
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${CLAVIGER_TEST_TOOLS:-.tools/bin}
chart=helm/claviger
snapshots=tests/snapshots/chart
kubernetes=1.30.0
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

render() {
  "$tools/helm" template claviger "$chart" --namespace keys --kube-version "$kubernetes" "$@"
}

# The alerts and the dashboard change often, and are compared with their files instead (tests/chart/custom_kinds.py).
snapshot() {
  render --set monitoring.prometheusRule.enabled=false,monitoring.dashboard.enabled=false --values "$1"
}

# `helm template` doesn't show the notes, so a copy of the chart has them as a document.
notes() {
  "$tools/helm" template claviger "$rendered/chart" --namespace keys --kube-version "$kubernetes" \
    --show-only templates/notes.yaml --values "$1" | "$tools/python3" -c 'import sys, yaml; print(yaml.safe_load(sys.stdin)["text"])'
}

prepare_notes() {
  cp -r "$chart" "$rendered/chart"
  mv "$rendered/chart/templates/NOTES.txt" "$rendered/chart/files/"
  cat >"$rendered/chart/templates/notes.yaml" <<'TEMPLATE'
kind: Notes
text: {{ tpl (.Files.Get "files/NOTES.txt") . | toJson }}
TEMPLATE
}

same() {
  if ! diff -u "$1" "$2"; then
    echo "FAILED: $1 is not what the chart renders; if that is meant, run tests/chart.sh --renew" >&2
    return 1
  fi
}

accepts() {
  local values=$1 name
  name=$(basename "$values" -values.yaml)
  "$tools/helm" lint --strict "$chart" --values "$values" >"$rendered/lint" || { cat "$rendered/lint" >&2; return 1; }
  render --values "$values" >"$rendered/$name.yaml"
  snapshot "$values" >"$rendered/$name.snapshot"
  notes "$values" >"$rendered/$name.notes"
  if [[ $renew == yes ]]; then
    cp "$rendered/$name.snapshot" "$snapshots/$name.yaml"
    cp "$rendered/$name.notes" "$snapshots/$name.notes.txt"
  fi
  same "$snapshots/$name.yaml" "$rendered/$name.snapshot"
  same "$snapshots/$name.notes.txt" "$rendered/$name.notes"
  # What the notes tell people to type is at least a command: indented by three spaces.
  sed -n 's/^   //p' "$rendered/$name.notes" | bash -n || { echo "FAILED: a command in the notes of $name" >&2; return 1; }
  echo "ok: $values lints and renders what $snapshots has"
}

# refuses WHAT SAYING ARGS: rendering with ARGS fails, and the message has SAYING in it, so that it failed for the right reason.
refuses() {
  local what=$1 saying=$2 message
  shift 2
  if message=$(render "$@" 2>&1); then
    echo "FAILED: $what was accepted" >&2
    return 1
  fi
  if [[ $message != *"$saying"* ]]; then
    echo "FAILED: $what was refused without saying $saying: $message" >&2
    return 1
  fi
  echo "ok: $what is refused"
}

renew=no
if [[ ${1:-} == --renew ]]; then
  renew=yes
fi
prepare_notes
for values in "$chart"/ci/*-values.yaml; do
  accepts "$values"
done
"$tools/python3" tests/chart/check.py "$rendered"/*.yaml

postgres=(--values "$chart/ci/postgres-values.yaml")
autoscaled=(--values "$chart/ci/autoscaled-values.yaml")
everything=(--values "$chart/ci/everything-values.yaml")
refuses "sqlite with two replicas" "- replicaCount:" --set replicaCount=2
refuses "sqlite with an autoscaler" "- autoscaling.enabled:" --set autoscaling.enabled=true
refuses "sqlite with a database Secret" "- database.existingSecret:" --set database.existingSecret=claviger-database
refuses "sqlite with a migration Secret" "- database.migration.existingSecret:" --set database.migration.existingSecret=owner
refuses "sqlite with readers" "- database.readers:" --set database.readers=4
refuses "more writers than the service takes" "- database.writers:" "${postgres[@]}" --set database.writers=65
refuses "a password of the mail server in a value" "- mail.url:" --set 'mail.url=smtp://user:secret@mail.example.com' --set mail.from=a@example.com
refuses "postgres without a database Secret" "- database.existingSecret:" "${postgres[@]}" --set database.existingSecret=
refuses "postgres without a pepper Secret" "- pepper.existingSecret:" "${postgres[@]}" --set pepper.existingSecret=
refuses "an unknown kind of database" "- database.mode:" --set database.mode=mysql
refuses "client certificates without TLS" "- tls.clientCertificateAuthority.existingSecret:" \
  "${everything[@]}" --set tls.existingSecret=
refuses "a mail server without a sender" "- mail.from:" --set mail.url=smtps://mail.example.com
refuses "a mail server's Secret without a sender" "- mail.from:" --set mail.existingSecret=claviger-mail
refuses "two mail servers" "- mail.existingSecret:" "${postgres[@]}" --set mail.existingSecret=claviger-mail
refuses "a password of no mail server" "- mail.password.existingSecret:" --set mail.password.existingSecret=claviger-mail
refuses "an authority of no collector" "- otel.certificateAuthority.existingSecret:" \
  --set otel.certificateAuthority.existingSecret=ca
refuses "fewer pods at most than at least" "minReplicas" "${autoscaled[@]}" --set autoscaling.minReplicas=7
refuses "a share of no CPU" "resources.requests.cpu" "${autoscaled[@]}" --set resources.requests.cpu=null
refuses "a variable that the chart sets" "CLAVIGER_DATA" --set "extraEnv[0].name=CLAVIGER_DATA,extraEnv[0].value=/tmp"
refuses "a digest that is none" "- image.digest:" --set image.digest=sha256:0
refuses "a peer that is none" "- networkPolicy.ingress.grpc.from.0:" --set "networkPolicy.ingress.grpc.from[0].cidr=10.0.0.0/8"
refuses "a value that doesn't exist" "- (root):" --set replicas=3
refuses "a value that doesn't exist, deeper" "- networkPolicy.egress:" --set networkPolicy.egress.http.ports=80
kubernetes=1.29.0
refuses "Kubernetes 1.29, which can't sleep before it stops" "kubeVersion: >=1.30.0-0"
