{{/* The pod, the same in both modes but for the volume at /data.
     No checksum annotations: all it is told stands in this template, so a change of it is a new pod already. Secrets are not
     the chart's: certificates are reloaded by the service, for the others restart it (`kubectl rollout restart`). */}}
{{- define "claviger.pod" -}}
metadata:
  labels:
    {{- include "claviger.labelsWith" (dict "root" . "own" "claviger.selectorLabels" "more" .Values.podLabels) | nindent 4 }}
  {{- with .Values.podAnnotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  # Kubernetes would set CLAVIGER_PORT and the like for a Service named claviger, and unknown settings are errors.
  enableServiceLinks: false
  serviceAccountName: {{ include "claviger.fullname" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- include "claviger.podSecurity" . | nindent 4 }}
  # Longer than the preStop sleep and, after it, the service's drain (10 s) and last changes (twice 3 s) together.
  terminationGracePeriodSeconds: {{ add .Values.preStopSleepSeconds 25 }}
  initContainers:
    # `serve` refuses a schema of another version. Safe in every pod at once, and a no-op when there is nothing to do. Not a
    # hook of helm's: those don't run under every deployer, and would need the Secrets before the release.
    - name: migrate
      {{- include "claviger.container" (dict "root" . "command" "migrate") | nindent 6 }}
  containers:
    - name: claviger
      {{- include "claviger.container" (dict "root" . "command" "serve") | nindent 6 }}
      ports:
        - name: grpc
          containerPort: 50051
        - name: http
          containerPort: 9464
      {{- include "claviger.probes" . | nindent 6 }}
      lifecycle:
        preStop:
          # Until every client has heard that this pod is leaving, it goes on answering.
          sleep:
            seconds: {{ .Values.preStopSleepSeconds }}
  {{- with include "claviger.placement" . | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  volumes:
    {{- include "claviger.volumes" . | nindent 4 }}
{{- end -}}

{{/* PodSecurity "restricted" asks for this of a pod; 65532 is the user of the image. */}}
{{- define "claviger.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
# The default would open files of the volume, root.key among them, to the group at every start.
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* …and this of each container. */}}
{{- define "claviger.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{/* All by HTTP: kubelet's own gRPC probe speaks no TLS. It doesn't verify the certificate, and needs none of its own. */}}
{{- define "claviger.probes" -}}
{{- $scheme := ternary "HTTPS" "HTTP" (ne .Values.tls.existingSecret "") -}}
# Loading a million keys takes a while: up to five minutes.
startupProbe:
  httpGet:
    path: /livez
    port: http
    scheme: {{ $scheme }}
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 150
# Lenient: a restart empties the mirror, so only a process that hangs for two minutes deserves one.
# Not by health: while the database is away for long, Verify is refused, and a restart would only lose the mirror.
livenessProbe:
  httpGet:
    path: /livez
    port: http
    scheme: {{ $scheme }}
  periodSeconds: 20
  timeoutSeconds: 5
  failureThreshold: 6
# Ready means: the mirror is loaded and not stale, as grpc.health.v1 says it of VerificationService.
readinessProbe:
  httpGet:
    path: /readyz
    port: http
    scheme: {{ $scheme }}
  periodSeconds: 5
  timeoutSeconds: 2
  failureThreshold: 2
{{- end -}}

{{/* Where pods run. */}}
{{- define "claviger.placement" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml .Values.topologySpreadConstraints | nindent 2 }}
{{- else if gt (include "claviger.mostPods" . | int) 1 }}
# Over zones and over nodes; a pod in the wrong place is better than none.
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - topologyKey: {{ . }}
    maxSkew: 1
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "claviger.selectorLabels" $ | nindent 8 }}
    # Only pods of one version count: while the old ones leave, the new ones would go where those aren't.
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end -}}
