#!/usr/bin/env bash
# Checks the chart without a cluster: it lints, renders and fits Kubernetes' own schema for every ci/*-values.yaml, and the
# values that would lose data or keys are refused. Called by a test; the tools come from tests/tools.sh.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools=${CLAVIGER_TEST_TOOLS:-.tools/bin}
chart=helm/claviger
kubernetes=1.32
rendered=$(mktemp -d)
trap 'rm -rf "$rendered"' EXIT

render() {
  "$tools/helm" template claviger "$chart" --kube-version "$kubernetes.0" "$@"
}

accepts() {
  local values=$1 manifest
  manifest=$rendered/$(basename "$values")
  "$tools/helm" lint --strict "$chart" --values "$values"
  render --values "$values" >"$manifest"
  "$tools/kubernetes-validate" --strict --kubernetes-version "$kubernetes" "$manifest"
  echo "ok: $values lints, renders and is valid for Kubernetes $kubernetes"
}

# refuses WHAT FIELD ARGS: rendering with ARGS fails, and the message names FIELD, so that it failed for the right reason.
refuses() {
  local what=$1 field=$2 message
  shift 2
  if message=$(render "$@" 2>&1); then
    echo "FAILED: $what was accepted" >&2
    return 1
  fi
  if [[ $message != *"- $field:"* ]]; then
    echo "FAILED: $what was refused without naming $field: $message" >&2
    return 1
  fi
  echo "ok: $what is refused"
}

for values in "$chart"/ci/*-values.yaml; do
  accepts "$values"
done

postgres=$chart/ci/postgres-values.yaml
refuses "sqlite with two replicas" replicaCount --set replicaCount=2
refuses "sqlite with a database Secret" database.existingSecret --set database.existingSecret=claviger-database
refuses "sqlite with a migration Secret" database.migration.existingSecret --set database.migration.existingSecret=owner
refuses "sqlite with readers" database.readers --set database.readers=4
refuses "more writers than the service takes" database.writers --values "$postgres" --set database.writers=65
refuses "postgres without a database Secret" database.existingSecret --values "$postgres" --set database.existingSecret=
refuses "postgres without a pepper Secret" pepper.existingSecret --values "$postgres" --set pepper.existingSecret=
refuses "a mail server without a sender" mail --set mail.url=smtps://mail.example.com
refuses "a password of no mail server" mail.existingSecret --set mail.existingSecret=claviger-mail
refuses "a value that doesn't exist" "(root)" --set replicas=3
