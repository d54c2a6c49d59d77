{{/* Name of every object: the release, with the chart's name unless it is already in it.
     52 characters leave room for `-headless`, and for a StatefulSet's revision, a label of at most 63. */}}
{{- define "claviger.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Under which name a client in the cluster reaches the Service, and what a certificate must be good for. */}}
{{- define "claviger.host" -}}
{{- include "claviger.fullname" . }}.{{ .Release.Namespace }}.svc
{{- end -}}

{{/* What selects our pods. Immutable in Kubernetes, so nothing that changes with a version. */}}
{{- define "claviger.selectorLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{/* What the pod of the chart's test has instead: the Service must not send callers to it. */}}
{{- define "claviger.testLabels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}-test
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "claviger.labels" -}}
{{- include "claviger.labelsWith" (dict "root" . "own" "claviger.selectorLabels") -}}
{{- end -}}

{{/* Labels of an object: `own` is the template of those that may not be replaced, `more` go before the common ones. */}}
{{- define "claviger.labelsWith" -}}
{{- $chart := .root.Chart -}}
{{- $labels := include .own .root | fromYaml -}}
{{- $_ := set $labels "app.kubernetes.io/version" $chart.AppVersion -}}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service -}}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" $chart.Name $chart.Version | replace "+" "_") -}}
{{- merge $labels (.more | default dict) .root.Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "claviger.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* How many pods there are at least, as text. */}}
{{- define "claviger.fewestPods" -}}
{{- ternary .Values.autoscaling.minReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* How many pods there may be, as text. */}}
{{- define "claviger.mostPods" -}}
{{- ternary .Values.autoscaling.maxReplicas .Values.replicaCount .Values.autoscaling.enabled -}}
{{- end -}}

{{/* `true` when mails are sent, else empty. */}}
{{- define "claviger.mails" -}}
{{- if or .Values.mail.url .Values.mail.existingSecret }}true{{ end -}}
{{- end -}}
